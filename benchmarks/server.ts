import { monitorEventLoopDelay } from 'node:perf_hooks'
import { PEERS } from './peers.js'

/** What a server process has used since it was last asked. */
export interface Usage {
  /** CPU time of all its threads, in µs. */
  readonly cpu: number
  /** The part of the time in which its event loop had something to do, 0 to 1. */
  readonly busy: number
  /** In ms: how much later than planned the event loop came by, in 99 of 100 cases. */
  readonly loopDelayP99: number
  readonly loopDelayMost: number
  /** How often it has waited for the disk where it read mapped memory. */
  readonly pageFaults: number
  /** In bytes. */
  readonly rss: number
}

const RESOLUTION_MS = 5

const peer = PEERS[process.argv[2] ?? '']
if (peer === undefined) throw new Error(`no peer "${process.argv[2]}"`)
const begun = performance.now()
const port = await peer()
const startMs = performance.now() - begun

const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
delays.enable()
let cpu = process.cpuUsage()
let faults = process.resourceUsage().majorPageFault
let utilization = performance.eventLoopUtilization()

const late = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS)

process.on('message', () => {
  const used = process.cpuUsage(cpu)
  const usage: Usage = {
    cpu: used.user + used.system,
    busy: performance.eventLoopUtilization(utilization).utilization,
    loopDelayP99: late(delays.percentile(99)),
    loopDelayMost: late(delays.max),
    pageFaults: process.resourceUsage().majorPageFault - faults,
    rss: process.memoryUsage.rss()
  }
  process.send?.(usage)
  cpu = process.cpuUsage()
  faults = process.resourceUsage().majorPageFault
  utilization = performance.eventLoopUtilization()
  delays.reset()
})
process.on('disconnect', () => process.exit())
process.send?.({ port, startMs })
