import { InvalidHandleError, NotSupportedError, RecordCorruptError } from '../../errors.js'
import { expiryOf } from '../../record/expiry.js'
import { handleOf, isHandle } from '../../record/handle.js'
import { textToKey } from '../../record/key-text.js'
import { type NewRecord, SessionRecord } from '../../record/record.js'
import { decodeValue } from '../../record/value.js'
import type { LeftOut, SessionStore, StoreContext } from '../session-store.js'
import { STORE_TIMEOUT } from '../store-options.js'
import { orLeftOut } from '../unreadable.js'
import { type Connection, connectionOf, type RedisClient } from './client.js'

const BATCH = 32
/** What the name of a field for a session key begins with. */
const DATA_MARK = '='

/**
 * What version 0.1 has stored, to be copied from: all keys in one slot, by a prefix with braces. It
 * cannot be written.
 */
export class OneSlotStore implements SessionStore {
  readonly writers = 'several'
  readonly #prefix: string
  readonly #connection: Connection
  #context!: StoreContext
  #timeout = STORE_TIMEOUT

  constructor({ client, prefix }: { client: RedisClient; prefix: string }) {
    this.#prefix = prefix
    this.#connection = connectionOf(client, () => this.#timeout)
  }

  async open(context: StoreContext): Promise<void> {
    this.#context = context
    this.#timeout = context.timeout ?? STORE_TIMEOUT
    await this.count()
  }

  create(start: NewRecord): SessionRecord {
    return new SessionRecord(start)
  }

  load(id: string): Promise<SessionRecord | null> {
    return this.loadByHandle(handleOf(id))
  }

  async loadByHandle(handle: string): Promise<SessionRecord | null> {
    const record = await this.read(handle)
    return record !== null && record.expiresAt > this.#context.now() ? record : null
  }

  async read(handle: string): Promise<SessionRecord | null> {
    if (!isHandle(handle)) return null
    const fields = fieldsOf(await this.#send('HGETALL', `session:${handle}`))
    return fields.size === 0 ? null : decodeHash(handle, fields)
  }

  async count(): Promise<number> {
    return Number(await this.#send('ZCARD', 'handles'))
  }

  async *records(after?: string, leftOut: LeftOut = () => {}): AsyncGenerator<SessionRecord> {
    if (after !== undefined && !isHandle(after)) throw new InvalidHandleError()
    let from = after === undefined ? '-' : `(${toHex(after)}`
    for (;;) {
      const range = ['+', 'LIMIT', '0', String(BATCH)]
      const members = (await this.#send('ZRANGEBYLEX', 'handles', from, ...range)) as string[]
      const handles = members.map((member) => Buffer.from(member, 'hex').toString('base64url'))
      const found = await Promise.all(handles.map((handle) => this.#readAlive(handle, leftOut)))
      for (const record of found) if (record !== null) yield record
      if (members.length < BATCH) return
      from = `(${members.at(-1)}`
    }
  }

  async lastCopyAt(): Promise<number | null> {
    const text = await this.#send('GET', 'copied')
    return text === null ? null : Number(text)
  }

  save(): Promise<void> {
    return this.#refuse()
  }

  compareAndSet(): Promise<boolean> {
    return this.#refuse()
  }

  replace(): Promise<boolean> {
    return this.#refuse()
  }

  destroy(): Promise<void> {
    return this.#refuse()
  }

  putRecords(): Promise<void> {
    return this.#refuse()
  }

  deleteExpired(): Promise<number> {
    return this.#refuse()
  }

  // biome-ignore lint/correctness/useYield: it refuses before there is anything to give.
  async *handlesOf(): AsyncGenerator<string[]> {
    await this.#refuse()
  }

  async close(): Promise<void> {}

  #send(command: string, name: string, ...args: string[]): Promise<unknown> {
    const key = this.#prefix + name
    return this.#connection.send(key, [command, key, ...args])
  }

  #refuse(): Promise<never> {
    const remedy = 'Copy it to a prefix without braces with "sled-session copy".'
    return Promise.reject(new NotSupportedError('do more than be copied from', remedy))
  }

  #readAlive(handle: string, leftOut: LeftOut): Promise<SessionRecord | null> {
    const walk = { log: this.#context.log, leftOut }
    return orLeftOut(handle, walk, () => this.loadByHandle(handle))
  }
}

function toHex(handle: string): string {
  return Buffer.from(handle, 'base64url').toString('hex')
}

/** The fields in a reply to HGETALL, which clients and protocol versions shape differently. */
function fieldsOf(reply: unknown): Map<string, string> {
  if (reply instanceof Map) return reply
  if (!Array.isArray(reply)) return new Map(Object.entries((reply ?? {}) as object))
  const fields = new Map<string, string>()
  for (let at = 0; at < reply.length; at += 2) fields.set(reply[at], reply[at + 1])
  return fields
}

function decodeHash(handle: string, fields: ReadonlyMap<string, string>): SessionRecord {
  const record = new SessionRecord({
    handle,
    createdAt: numberIn(fields, 'created'),
    lastSeenAt: numberIn(fields, 'seen'),
    expiresAt: numberIn(fields, 'expires')
  })
  const [kind, amount = ''] = (fields.get('expiry') ?? '').split(' ')
  if (kind !== '') record.expiry = expiryOf(kind, amount === '' ? null : Number(amount))
  record.principal = fields.get('principal') || null
  record.metadata = fields.get('metadata') || null
  const entries = [...fields].filter(([field]) => field.startsWith(DATA_MARK)).map(decodeEntry)
  entries.sort((a, b) => a.order - b.order)
  for (const { key, text } of entries) record.apply(key, text)
  return record
}

function numberIn(fields: ReadonlyMap<string, string>, name: string): number {
  const text = fields.get(name) ?? ''
  if (text === '' || !Number.isFinite(Number(text))) {
    throw new RecordCorruptError(`its field "${name}" is no number`)
  }
  return Number(text)
}

/** A value is a number, a space and the encoded value; the numbers give the order of the keys. */
function decodeEntry([field, value]: [string, string]) {
  const space = value.indexOf(' ')
  const text = value.slice(space + 1)
  try {
    decodeValue(text)
    return {
      key: textToKey(field.slice(DATA_MARK.length)),
      text,
      order: Number(value.slice(0, space))
    }
  } catch {
    // Not the cause: its message would hold the data.
    throw new RecordCorruptError('a value does not decode')
  }
}
