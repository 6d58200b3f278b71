/** One system call in what `strace -f -y` wrote. `began` and `ended` order all of them. */
export interface SystemCall {
  readonly name: string
  /** The file behind the descriptor in its first argument, or '' if that is none. */
  readonly file: string
  /** All of its arguments, as strace shows them. */
  readonly text: string
  readonly began: number
  readonly ended: number
}

const WHOLE = /^(\d+) +(\w+)\((.*)$/
const RESUMED = /^(\d+) +<\.\.\. (\w+) resumed>(.*)$/
const UNFINISHED = / <unfinished \.\.\.>$/
const FILE = /^\d+<(.*?)>/

/** A call that another thread's interrupts takes two lines: it began at one and ended at the other. */
export function parseTrace(trace: string): SystemCall[] {
  const calls: SystemCall[] = []
  const pending = new Map<string, { name: string; text: string; began: number }>()
  for (const [at, line] of trace.split('\n').entries()) {
    const resumed = RESUMED.exec(line)
    if (resumed !== null) {
      const call = pending.get(resumed[1] ?? '')
      if (call !== undefined) calls.push(finish(call, at))
      continue
    }
    const [, thread = '', name = '', text = ''] = WHOLE.exec(line) ?? []
    if (name === '') continue
    const call = { name, text, began: at }
    if (UNFINISHED.test(text)) pending.set(thread, call)
    else calls.push(finish(call, at))
  }
  return calls.sort((a, b) => a.began - b.began)
}

function finish(call: { name: string; text: string; began: number }, ended: number): SystemCall {
  return { ...call, file: FILE.exec(call.text)?.[1] ?? '', ended }
}

export const isSocket = ({ file }: SystemCall): boolean => /^(socket|TCP)/.test(file)

/**
 * The requests, by number, whose response left before what was written for them was on the disk.
 * Both have `<number>` in them.
 */
export function unproven(
  calls: readonly SystemCall[],
  requests: number,
  isWrite: (call: SystemCall) => boolean,
  isSync: (call: SystemCall, written: SystemCall) => boolean
): number[] {
  const early: number[] = []
  for (let n = 0; n < requests; n++) {
    const has = ({ text }: SystemCall): boolean => text.includes(`<${n}>`)
    const written = calls.find((call) => isWrite(call) && has(call))
    const answered = calls.find((call) => isSocket(call) && has(call))
    if (written === undefined || answered === undefined) throw new Error(`no trace of request ${n}`)
    const covered = calls.some(
      (call) => isSync(call, written) && call.began > written.ended && call.ended < answered.began
    )
    if (!covered) early.push(n)
  }
  return early
}
