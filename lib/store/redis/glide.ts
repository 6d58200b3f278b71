/** A `GlideClient` of `@valkey/valkey-glide` 2. */
export interface GlideClient {
  customCommand(args: string[], options?: { decoder?: number }): Promise<unknown>
}

type Route =
  | 'allPrimaries'
  | { type: 'primarySlotKey'; key: string }
  | { type: 'routeByAddress'; host: string; port: number }

/** A `GlideClusterClient` of `@valkey/valkey-glide` 2. */
export interface GlideClusterClient {
  customCommand(args: string[], options?: { decoder?: number; route?: Route }): Promise<unknown>
  /** Only one for a cluster has it. */
  invokeScriptWithRoute(...args: never[]): Promise<unknown>
}

type Send = (args: string[]) => Promise<unknown>

/** `Decoder.Bytes`. As strings, what has a flipped bit would be an error and never be put aside. */
const BYTES = 0
const FROM_SERVER = 'An error was signalled by the server: - '
/** What glide makes of the codes that it knows, where it is not the code in other letters. */
const CODES: Record<string, string> = {
  Response: 'ERR',
  BusyLoading: 'LOADING',
  PermissionDenied: 'NOPERM'
}

interface Settings {
  readFrom?: string
  clientSideCache?: object
  compression?: { enabled?: boolean }
}

/** What the application has set up that makes answers stale or wrong, or `null`. */
export function unsafeSettingOf(client: GlideClient | GlideClusterClient): string | null {
  const { config = {} } = client as { config?: Settings }
  // Whoever has logged out elsewhere would go on to be logged in here.
  if (config.clientSideCache != null) return 'has a clientSideCache, which is behind'
  // Only one for a cluster can be told otherwise with each command.
  const asksReplicas = (config.readFrom ?? 'primary') !== 'primary'
  if (asksReplicas && !('invokeScriptWithRoute' in client)) {
    return 'has readFrom: replicas are behind'
  }
  return config.compression?.enabled ? 'has compression, which scripts know nothing of' : null
}

/** Sends commands through a client for a single server. */
export function throughGlide(client: GlideClient): Send {
  return (args) => answer(() => client.customCommand(args, { decoder: BYTES }))
}

/** Sends commands through a client for a cluster, to the primary that has a key. */
export function throughGlideCluster(client: GlideClusterClient) {
  const send = (route: Route, args: string[]): Promise<unknown> => {
    return answer(() => client.customCommand(args, { decoder: BYTES, route }))
  }
  return {
    // By itself, it would ask a replica where the application says so, and that may be behind.
    send: (key: string, args: string[]) => send({ type: 'primarySlotKey', key }, args),
    /** Each primary by the address by which glide knows it. */
    async masters(): Promise<Send[]> {
      const answers = await send('allPrimaries', ['INFO', 'server'])
      return (answers as { key: string }[]).map(({ key }): Send => {
        const colon = key.lastIndexOf(':')
        const [host, port] = [key.slice(0, colon), Number(key.slice(colon + 1))]
        return (args) => send({ type: 'routeByAddress', host, port }, args)
      })
    }
  }
}

/** A closed client throws where others reject. */
async function answer(ask: () => Promise<unknown>): Promise<unknown> {
  try {
    return withTexts(await ask())
  } catch (error) {
    throw error instanceof Error ? inWordsOfServer(error) : error
  }
}

function withTexts(reply: unknown): unknown {
  if (Buffer.isBuffer(reply)) return reply.toString()
  if (Array.isArray(reply)) return reply.map(withTexts)
  const isEntry = typeof reply === 'object' && reply !== null && 'key' in reply
  return isEntry ? { ...reply, key: withTexts(reply.key) } : reply
}

/** Glide has names of its own for the codes with which a server's errors begin. */
function inWordsOfServer(error: Error): Error {
  const { message } = error
  const isKnown = message.startsWith(FROM_SERVER)
  const [, name, words] =
    (isKnown
      ? /^(\w+?)(?:Error)?(?:: (.*))?$/s.exec(message.slice(FROM_SERVER.length))
      : /^([A-Z]{2,}): (.*)$/s.exec(message)) ?? []
  if (name === undefined) return error
  return new Error(`${CODES[name] ?? name.toUpperCase()} ${words ?? ''}`)
}
