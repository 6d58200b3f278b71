/** One string of a session that all peers keep beside the counter, so that records have a real size. */
export const PROFILE = 'x'.repeat(400)
/** A session for those who keep much in one. */
export const BIG = 'x'.repeat(32 * 1024)
