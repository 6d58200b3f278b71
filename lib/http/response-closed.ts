import type { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'

type Response = FastifyReply['raw']

/** Gets the response as `this`, so that one function can serve all. */
export type CloseListener = (this: Response) => void

/**
 * Calls back when the response has left or will never leave; at once if the client has gone
 * already. It may call more than once.
 */
export function whenClosed(
  request: FastifyRequest,
  reply: FastifyReply,
  then: CloseListener
): void {
  const { raw } = reply
  // The requests that @fastify/websocket makes up for tests, by injectWS, have none.
  const socket: Socket | undefined = request.raw.socket
  if (isClosed(raw) || socket?.destroyed === true) {
    then.call(raw)
    return
  }
  // It comes once by itself; `once` would wrap the listener for each response.
  raw.on('close', then)
  // While its turn on a pipelined connection has not come, a response is told of no close.
  if (raw.socket === null && socket !== undefined) whenCut(socket, raw, then)
}

/** HTTP/2 keeps it on the stream of the response. */
function isClosed(raw: Response & { stream?: { destroyed: boolean } }): boolean {
  return raw.destroyed || raw.stream?.destroyed === true
}

const queued = new WeakMap<Socket, Set<() => void>>()

/** One listener for all responses that wait on a connection, or Node would warn of too many. */
function whenCut(socket: Socket, raw: Response, then: CloseListener): void {
  let waiting = queued.get(socket)
  if (waiting === undefined) {
    const all = new Set<() => void>()
    waiting = all
    queued.set(socket, all)
    socket.once('close', () => {
      for (const callback of all) callback()
    })
  }
  const cut = (): void => then.call(raw)
  waiting.add(cut)
  raw.once('close', () => waiting.delete(cut))
}
