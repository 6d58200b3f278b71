import { checkedExpiry, type Expiry, isSameExpiry } from '../record/expiry.js'
import { tellIfCapped } from './limits.js'
import { type Holder, type HolderChange, isLeft, isLogin } from './login.js'
import type { UnitOfWork } from './unit-of-work.js'

export function setExpiry(work: UnitOfWork, given: Expiry): void {
  const expiry = checkedExpiry(given)
  const record = work.own()
  work.edit().setsExpiry = true
  if (work.isClean && isSameExpiry(record.expiry, expiry)) return
  tellIfCapped(expiry, work.registration)
  work.sendsCookie = true
  work.setAttributes({ expiry: isSameExpiry(record.expiry, expiry) ? record.expiry : expiry })
  work.touch()
}

export function setMetadata(work: UnitOfWork, metadata: string | null): void {
  const present = work.record?.metadata ?? null
  if (metadata === present && (work.record === null || work.isClean)) return
  work.setAttributes({ metadata })
}

/** Gives the session to somebody under the id that it has. */
export function hand(work: UnitOfWork, change: HolderChange): void {
  const record = work.own()
  const holder = holderAfter(work, change)
  const keep = change.keep ?? !leaves(work, holder)
  if (keep !== true) dropAllBut(work, keep === false ? [] : keep)
  const expiry = expiryFor(work, holder, false)
  const same = record.principal === holder.principal && record.metadata === holder.metadata
  if (same && expiry === record.expiry && work.isClean) return
  if (expiry !== record.expiry) work.sendsCookie = true
  const createdAt = isLogin(record, holder) ? work.registration.now() : record.createdAt
  const { principal, metadata } = holder
  work.setAttributes({ principal, metadata, createdAt, expiry })
  work.touch()
}

/** Who has the session after a change. */
export function holderAfter(work: UnitOfWork, { principal, metadata }: HolderChange): Holder {
  if (metadata !== undefined) return { principal, metadata }
  const left = leaves(work, { principal, metadata: null })
  return { principal, metadata: left ? null : (work.record?.metadata ?? null) }
}

/** Whether a user leaves the session to whoever is its holder then. */
export function leaves(work: UnitOfWork, by: Holder): boolean {
  return work.record !== null && isLeft(work.record, by)
}

/** A long life that one user asked for is not the next one's. */
export function expiryFor(work: UnitOfWork, holder: Holder, dropped: boolean): Expiry | null {
  const ends = dropped || leaves(work, holder)
  return ends && work.draft?.setsExpiry !== true ? null : (work.record?.expiry ?? null)
}

function dropAllBut(work: UnitOfWork, keys: readonly string[]): void {
  for (const key of [...work.data.keys()]) if (!keys.includes(key)) work.delete(key)
}
