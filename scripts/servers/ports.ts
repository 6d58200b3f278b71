import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'

/** A port of the loopback interface that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** How much higher a node of a Redis cluster also listens, for the others. */
const BUS_OFFSET = 10_000
const HIGHEST = 65_535

/** A port for a node of a Redis cluster. */
export async function freeClusterPort(): Promise<number> {
  for (;;) {
    const port = await freePort()
    // All that the system gives out may be too high.
    const low = port > HIGHEST - BUS_OFFSET ? port - BUS_OFFSET : port
    if ((await isFree(low)) && (await isFree(low + BUS_OFFSET))) return low
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1')
  const listening = await once(server, 'listening').then(
    () => true,
    () => false
  )
  if (!listening) return false
  server.close()
  await once(server, 'close')
  return true
}
