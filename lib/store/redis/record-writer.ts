import { randomBytes } from 'node:crypto'
import type { SessionRecord } from '../../record/record.js'
import { inOrder } from '../in-order.js'
import { difference } from '../merge.js'
import type { SessionChanges } from '../session-store.js'
import { fieldOf, knownOf, messageOf } from './codec.js'
import { handleOfMember, memberOf, type RedisKeys } from './keys.js'
import { type Known, RedisRecord } from './redis-record.js'
import {
  COMPARE_AND_SET,
  DESTROY,
  EXPIRE,
  PUT,
  QUARANTINE,
  RELEASE_LEASE,
  REPLACE,
  SAVE,
  type Script,
  TAKE_LEASE
} from './scripts.js'
import type { RedisServer } from './server.js'

/** The two indexes come first in KEYS. */
const KEYS_BEFORE = 2

/** What changes records in the server: each change is one script, so nothing comes in between. */
export class RecordWriter {
  readonly #server: RedisServer
  readonly #keys: RedisKeys
  readonly #now: () => number

  constructor(server: RedisServer, keys: RedisKeys, now: () => number) {
    this.#server = server
    this.#keys = keys
    this.#now = now
  }

  save(record: RedisRecord, changes: SessionChanges | null): Promise<void> {
    return inOrder(record, async () => {
      if (record.known === null) await this.put([record])
      else await this.#merge(record, record.known, changes)
    })
  }

  /** Stores records whole, in the place of what is there. */
  async put(records: readonly SessionRecord[]): Promise<void> {
    const keys: string[] = []
    const born = newBirth()
    const messages = records.map((record) => {
      const at = KEYS_BEFORE + keys.push(this.#keys.record(record.handle))
      const principalAt = this.#addPrincipal(keys, record.principal ?? '')
      const more = { at, principalAt, born, member: memberOf(record.handle) }
      return { ...messageOf(record, record.data), ...more }
    })
    const known = records.map((record) => knownOf(record, born))
    await this.#run(PUT, keys, { records: messages })
    for (const [index, record] of records.entries()) {
      if (record instanceof RedisRecord) record.known = known[index] as Known
    }
  }

  async replace(
    old: RedisRecord,
    fresh: RedisRecord,
    keep: boolean | readonly string[]
  ): Promise<boolean> {
    let replaced = false
    await inOrder(old, async () => {
      replaced = await this.#move(old, fresh, keep)
    })
    return replaced
  }

  /** Resolves to whether the session was there. */
  async destroy({ handle, known }: RedisRecord): Promise<boolean> {
    const keys = [this.#keys.record(handle)]
    const knownAt = this.#addPrincipal(keys, known?.principal ?? '')
    return Number(await this.#run(DESTROY, keys, { member: memberOf(handle), knownAt })) > 0
  }

  async takeLease(name: string, owner: string, milliseconds: number): Promise<boolean> {
    const message = { owner, milliseconds: String(milliseconds) }
    return Number(await this.#run(TAKE_LEASE, [this.#keys.lease(name)], message)) === 1
  }

  async releaseLease(name: string, owner: string): Promise<void> {
    await this.#run(RELEASE_LEASE, [this.#keys.lease(name)], { owner })
  }

  async compareAndSet(
    record: RedisRecord,
    key: string,
    expected: string | undefined,
    text: string | undefined
  ): Promise<boolean> {
    let swapped = false
    await inOrder(record, async () => {
      const keys = [this.#keys.record(record.handle)]
      const message = { born: record.known?.born, field: fieldOf(key), expected, text }
      const reply = await this.#run(COMPARE_AND_SET, keys, message)
      if (reply === 'gone') {
        record.destroyed = true
        return
      }
      swapped = reply === 'ok'
      const stored = swapped ? text : (reply as string[])[0]
      record.apply(key, stored)
      if (stored === undefined) record.known?.data.delete(key)
      else record.known?.data.set(key, stored)
    })
    return swapped
  }

  /** Takes those of these members whose time has come, and resolves to how many they are. */
  async expire(members: string[]): Promise<number> {
    const keys = members.map((member) => this.#keys.record(handleOfMember(member)))
    return Number(await this.#run(EXPIRE, keys, { members }))
  }

  /** Keeps what was found for a person to look at, out of the way of every visitor. */
  async quarantine(handle: string): Promise<void> {
    const keys = [this.#keys.record(handle), this.#keys.quarantine(handle)]
    await this.#run(QUARANTINE, keys, { member: memberOf(handle) })
  }

  async #merge(record: RedisRecord, known: Known, changes: SessionChanges | null): Promise<void> {
    const { principal } = known
    const keys = [this.#keys.record(record.handle)]
    const knownAt = this.#addPrincipal(keys, principal)
    const principalAt = this.#addPrincipal(keys, record.principal ?? '')
    const message = {
      ...messageOf(record, changes ?? []),
      left:
        principal === (record.principal ?? '') ? undefined : [...record.data.keys()].map(fieldOf)
    }
    const stored = knownOf(record, known.born)
    const more = { member: memberOf(record.handle), knownAt, principalAt }
    const reply = await this.#run(SAVE, keys, { ...message, ...knownPart(known), ...more })
    if (reply === 'gone') record.destroyed = true
    else if (reply === 'ok') record.known = stored
    else await this.#merge(record, adopt(record, known, reply), changes)
  }

  async #move(
    old: RedisRecord,
    fresh: RedisRecord,
    keep: boolean | readonly string[]
  ): Promise<boolean> {
    const known = old.known as Known
    const keys = [
      this.#keys.record(old.handle),
      this.#keys.record(fresh.handle),
      this.#keys.successor(old.handle)
    ]
    const knownAt = this.#addPrincipal(keys, known.principal)
    const principalAt = this.#addPrincipal(keys, fresh.principal ?? '')
    const born = newBirth()
    const reply = await this.#run(REPLACE, keys, {
      ...messageOf(fresh, keep === false ? fresh.data : difference(known.data, fresh.data)),
      ...knownPart(known),
      member: memberOf(old.handle),
      fresh: { member: memberOf(fresh.handle), born },
      keep: keep === false ? undefined : keep === true ? [] : keep.map(fieldOf),
      keepAll: keep === true,
      knownAt,
      principalAt
    })
    if (reply === 'ok') {
      fresh.known = knownOf(fresh, born)
      old.destroyed = true
      return true
    }
    if (reply !== 'gone') {
      old.known = adopt(fresh, known, reply)
      return this.#move(old, fresh, keep)
    }
    old.destroyed = true
    fresh.destroyed = true
    return false
  }

  #run(script: Script, keys: string[], message: object): Promise<unknown> {
    const { expiry, handles } = this.#keys
    const now = String(this.#now())
    return this.#server.run(script, [expiry, handles, ...keys], { ...message, now })
  }

  /** Adds the key of a principal's list and returns its place in KEYS, if there is a principal. */
  #addPrincipal(keys: string[], principal: string): number | undefined {
    if (principal === '') return undefined
    return KEYS_BEFORE + keys.push(this.#keys.principal(principal))
  }
}

/** Tells one writing of a session from another under its handle. */
function newBirth(): string {
  return randomBytes(6).toString('base64url')
}

function knownPart({ born, created, expiry, principal, metadata }: Known): object {
  return { born, known: { created, expiry, principal, metadata } }
}

/** Another process has made the session somebody else's: this record follows. */
function adopt(record: RedisRecord, known: Known, reply: unknown): Known {
  const [principal = ''] = reply as string[]
  record.principal = principal || null
  return { ...known, principal }
}
