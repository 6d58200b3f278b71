import { PEERS } from './peers.js'

/** The process that serves one peer: tells its port, and what it has used whenever it is asked. */
const peer = PEERS[process.argv[2] ?? '']
if (peer === undefined) throw new Error(`no peer "${process.argv[2]}"`)
const port = await peer()

process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send?.({ cpu: user + system, rss: process.memoryUsage.rss() })
})
process.on('disconnect', () => process.exit())
process.send?.({ port })
