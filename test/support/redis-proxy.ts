import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'
import type { RedisProcess } from './redis.js'

/** A connection to a Redis that can be cut at the worst moment. */
export interface RedisProxy {
  readonly url: string
  /**
   * Cuts the connection on which the next command goes that has this text in it, when the server
   * has run it and before the client has the reply. Resolves when that has happened.
   */
  cutAfter(text: string): Promise<void>
  /** Cuts all, and lets nobody in before it is called again with `false`. */
  close(closed: boolean): void
}

export async function proxyFor(t: Test, target: RedisProcess): Promise<RedisProxy> {
  const sockets = new Set<Socket>()
  let closed = false
  let cut: { text: string; done: () => void } | null = null
  const proxy = createServer((client) => {
    if (closed) {
      client.destroy()
      return
    }
    const server = connect(target.port, '127.0.0.1')
    let isDoomed = false
    for (const socket of [client, server]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        server.destroy()
      })
    }
    client.on('data', (bytes) => {
      if (cut !== null && bytes.includes(cut.text)) isDoomed = true
      server.write(bytes)
    })
    server.on('data', (bytes) => {
      if (!isDoomed) {
        client.write(bytes)
        return
      }
      client.destroy()
      server.destroy()
      cut?.done()
      cut = null
    })
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.teardown(() => {
    proxy.close()
    for (const socket of sockets) socket.destroy()
  })
  return {
    url: `redis://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    cutAfter: (text) =>
      new Promise((done) => {
        cut = { text, done }
      }),
    close(value) {
      closed = value
      if (closed) for (const socket of sockets) socket.destroy()
    }
  }
}
