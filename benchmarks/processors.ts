import { spawnSync } from 'node:child_process'
import { cpus } from 'node:os'
import { findProgram } from '../scripts/system.js'

/** Keeps a process with all its threads on some cores; elsewhere than on Linux nothing happens. */
export function pin(pid: number, cores: readonly number[]): void {
  if (findProgram('taskset') === undefined) return
  const { status, stderr } = spawnSync('taskset', ['-acp', cores.join(','), String(pid)], {
    encoding: 'utf8'
  })
  if (status !== 0) throw new Error(`taskset: ${stderr}`)
}

/** The time that all cores together have been idle, in ms. */
export function idleTime(): number {
  return cpus().reduce((sum, { times }) => sum + times.idle, 0)
}
