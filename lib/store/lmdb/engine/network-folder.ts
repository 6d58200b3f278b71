import { statfs } from 'node:fs/promises'
import { PathUnusableError } from '../../../errors.js'

/** By the number that Linux gives them; what is mapped there is not one memory for all machines. */
const NETWORK_FILE_SYSTEMS = new Map<number, string>([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x5346414f, 'AFS'],
  [0x00c36400, 'Ceph'],
  [0x0bd00bd0, 'Lustre'],
  [0x01161970, 'GFS2'],
  [0x7461636f, 'OCFS2'],
  [0x01021997, '9P']
])

/**
 * LMDB's locks and its map work within one machine only: over a network they corrupt the database.
 * Other systems than Linux do not tell, and neither does a file system in user space.
 *
 * @throws {PathUnusableError}
 */
export async function refuseNetworkFolder(
  path: string,
  read: (path: string) => Promise<{ readonly type: number }> = statfs
): Promise<void> {
  if (process.platform !== 'linux') return
  const { type } = await read(path)
  const name = NETWORK_FILE_SYSTEMS.get(type)
  if (name === undefined) return
  throw new PathUnusableError(
    path,
    `it is on ${name}, and LMDB's locks hold within one machine only`,
    'Name a folder on a local disk.'
  )
}
