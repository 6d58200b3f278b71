import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'
import type { RedisProcess } from '../../scripts/servers/redis.js'
import { MessageReader, wordsOf } from './resp.js'

/** A connection to a Redis that can be cut at the worst moment. */
export interface RedisProxy {
  readonly url: string
  /** How often it has been cut. */
  readonly cuts: number
  /**
   * Cuts the connection on which the next command goes that has this word in it, or is meant
   * otherwise, when the server has run it and before the client has the reply. Resolves when that
   * has happened.
   */
  cutAfter(command: string | ((words: string[]) => boolean)): Promise<void>
  /** Forgets what was to be cut. */
  cutNothing(): void
  /** Cuts all, and lets nobody in before it is called again with `false`. */
  close(closed: boolean): void
}

export async function proxyFor(t: Test, target: RedisProcess): Promise<RedisProxy> {
  const sockets = new Set<Socket>()
  let closed = false
  let cuts = 0
  let cut: { matches: (words: string[]) => boolean; done: () => void } | null = null
  const proxy = createServer((client) => {
    if (closed) {
      client.destroy()
      return
    }
    const server = connect(target.port, '127.0.0.1')
    const end = (): void => {
      client.destroy()
      server.destroy()
    }
    for (const socket of [client, server]) {
      socket.setNoDelay()
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        end()
      })
    }
    pass(client, server, (command) => {
      const mine = cut
      if (mine === null || !mine.matches(wordsOf(command))) return null
      cut = null
      return () => {
        cuts++
        end()
        mine.done()
      }
    })
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.teardown(() => {
    proxy.close()
    for (const socket of sockets) socket.destroy()
  })
  return {
    url: `redis://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    get cuts() {
      return cuts
    },
    cutAfter: (command) =>
      new Promise((done) => {
        const matches =
          typeof command === 'string' ? (words: string[]) => words.includes(command) : command
        cut = { matches, done }
      }),
    cutNothing() {
      cut = null
    },
    close(value) {
      closed = value
      if (closed) for (const socket of sockets) socket.destroy()
    }
  }
}

/** @param endOf how to end both, if that is to be done when the server has run this command */
function pass(
  client: Socket,
  server: Socket,
  endOf: (command: Buffer) => (() => void) | null
): void {
  const commands = new MessageReader()
  const replies = new MessageReader()
  let sent = 0
  let answered = 0
  let last: { command: number; end: () => void } | null = null
  client.on('data', (chunk: Buffer) => {
    for (const command of commands.read(chunk)) {
      // What was sent behind it is lost with the connection.
      if (last !== null) return
      server.write(command)
      sent++
      const end = endOf(command)
      if (end !== null) last = { command: sent, end }
    }
  })
  server.on('data', (chunk: Buffer) => {
    for (const reply of replies.read(chunk)) {
      // What servers tell by themselves answers no command.
      if (reply[0] !== '>'.charCodeAt(0)) answered++
      if (last !== null && answered >= last.command) {
        last.end()
        return
      }
      client.write(reply)
    }
  })
}
