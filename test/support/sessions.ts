import { onInactivity, SessionRecord, type SessionStore } from '../../lib/index.js'
import { createSessionId, handleOf } from '../../lib/record/handle.js'
import { encodeValue } from '../../lib/record/value.js'

/** A session with something in each of its fields, of the kinds that are easily lost. */
export function someRecord(number: number, now: number, lifetime = 3_600_000): SessionRecord {
  const handle = someHandle()
  const record = new SessionRecord({
    handle,
    createdAt: now - 5000,
    lastSeenAt: now - 3000,
    expiresAt: now + lifetime
  })
  if (number % 2 === 0) record.expiry = onInactivity({ hours: 1 })
  record.principal = number % 4 === 3 ? null : `user ${number % 3}`
  record.metadata = encodeValue('', { agent: `phone ${number}` }, 1000)
  const set = (key: string, value: unknown): void =>
    record.apply(key, encodeValue(key, value, 1000))
  set('counter', number)
  set('\ud800 lone "é\n', ['secret', { __proto__: null, deep: [1, null] }])
  set('since', new Date(now))
  set('seen', new Set([1n, Number.NaN, -0]))
  return record
}

/** Everything about a record that is stored, to compare. */
export function plain(record: SessionRecord): object {
  const { handle, createdAt, lastSeenAt, expiresAt, expiry, principal, metadata, size } = record
  const data = [...record.data].sort(([a], [b]) => (a < b ? -1 : 1))
  return { handle, createdAt, lastSeenAt, expiresAt, expiry, principal, metadata, size, data }
}

/** Everything that a store holds, in its order. */
export async function contents(store: SessionStore): Promise<object[]> {
  const found: object[] = []
  for await (const record of store.records()) found.push(plain(record))
  return found
}

/** A short form of one that begins with two dashes would look like an option in a command. */
export function someHandle(): string {
  for (;;) {
    const handle = handleOf(createSessionId())
    if (!handle.startsWith('--')) return handle
  }
}
