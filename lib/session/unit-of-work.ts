import { SessionBusyError } from '../errors.js'
import { announce, events } from '../events.js'
import { createSessionId, handleOf, shortHandle } from '../record/handle.js'
import type { SessionRecord } from '../record/record.js'
import { noteActivity, noteResponse, whatIsDue } from './activity.js'
import { Attended } from './attended.js'
import { type Holder, type HolderChange, isLeft, isLogin, isSilent, type Keep } from './login.js'
import { notesOf } from './notes.js'
import type { Registration } from './registration.js'
import type { Leave } from './turnstile.js'
import { type CookieAction, WorkingRecord } from './working-record.js'

/** Called once, with the error if there is one. */
type Done = (error: Error | null) => void

/**
 * One request's work on its session, from load to response: what is to be stored when, what the
 * response must wait for, and what it tells the browser.
 */
export class UnitOfWork extends WorkingRecord {
  /** A save, destroy or renewal that nobody may have awaited; the response waits for it. */
  private settling: Promise<void> | null = null
  /** The response is out: changes are stored as they come. */
  private ended = false
  private autosave = false
  /** An exclusive route has let this request in, and it may move the session to another id. */
  hasTurn = false
  /** What this request did without waiting for it, and what failed. */
  private failures: { readonly by: Attended<unknown>; readonly error: unknown }[] | null = null
  /** This request itself has ended the session, and begun no other. */
  private endedHere = false
  /** The session has ended elsewhere, and took along what was to be stored. */
  private missed = false
  /** Whether the visitor has a cookie of ours, or will have had one. */
  private hasCookie: boolean

  constructor(
    policy: Registration,
    record: SessionRecord | null,
    id: string | null,
    cookie: CookieAction
  ) {
    super(policy, record, id, cookie)
    this.hasCookie = record !== null
  }

  /** Stores what has changed and resolves when that is durable. */
  save(): Promise<void> {
    const saving = this.saveChanges()
    if (!this.ended) this.holdResponse(saving)
    return saving
  }

  private async saveChanges(): Promise<void> {
    if (!this.isModified) return
    const record = this.begun
    if (record === null) return
    if (!this.ended) await this.store(record)
    else if (this.stored) await this.saveDetached(record)
    else this.dropUnsent(record)
  }

  /**
   * As `save`, for who has called `followRenewals`: what was changed is stored in the session that
   * this one was renewed to.
   *
   * @returns false if the session has ended, and its changes with it
   */
  async saveFollowing(): Promise<boolean> {
    await this.save()
    if (this.record?.destroyed) await this.follow(this.record)
    return !this.missed
  }

  /** Whether the response may have something to wait for; false is certain. */
  get mayHaveToCommit(): boolean {
    if (this.settling !== null || this.ended || this.mayBeModified) return true
    return this.record !== null && this.isDue(this.record)
  }

  /**
   * Stores what the response must wait for. Calls back when that is durable, which is at once if
   * there is nothing to store.
   */
  commit(done: Done): void {
    const settling = this.settling
    if (settling !== null) {
      this.settling = null
      settling.then(() => this.commit(done), done)
      return
    }
    const failure = this.failures?.find(({ by }) => !by.attended)
    if (failure !== undefined) {
      this.failures = null
      done(failure.error as Error)
      return
    }
    // The client went away: changes go the way of late ones.
    if (this.ended) {
      this.save().then(() => done(null), done)
      return
    }
    try {
      this.collect()
    } catch (error) {
      done(error as Error)
      return
    }
    const record = this.begun
    if (record === null || !this.isDue(record)) {
      done(null)
    } else {
      noteResponse(record, this.policy)
      this.write(record, done)
    }
  }

  /** What the response must say, given that all is saved; the next call says only what is new. */
  takeCookieAction(): CookieAction {
    const action = this.cookie
    this.cookie = 'none'
    const record = this.record
    if (record !== null && this.begun === null)
      return this.cookieBefore === 'clear' ? 'clear' : 'none'
    if (record === null || record.destroyed || record.failure !== null || !this.stored) {
      return action === 'clear' ? 'clear' : 'none'
    }
    if (action !== 'set' && !whatIsDue('response', record, this.policy).cookie) return 'none'
    notesOf(record).toldExpiresAt = record.expiresAt
    return 'set'
  }

  /** The response is out, or will never be; changes still unsaved are stored now. */
  end(): void {
    if (this.ended) return
    this.ended = true
    const record = this.record
    if (record === null) return
    const { stored } = this
    // A response that was hijacked or cut off has stored no touch.
    const touch = whatIsDue('close', record, this.policy).touch
    if (stored && !record.destroyed && touch) this.dirty = true
    if (this.mayBeModified) this.policy.background.add(this.saveInBackground())
  }

  /** As {@link end}, for a record that nobody has changed. */
  detach(): void {
    this.ended = true
  }

  /** Whether the session has ended, be it by this request or by another. */
  get isOver(): boolean {
    return this.record === null ? this.endedHere : this.isDead(this.record)
  }

  /**
   * For what a handler may do without waiting for it. The response waits, and if it fails and
   * nobody looks, it is the response that fails; after the response, the log has it.
   */
  attend<T>(work: Promise<T>): Promise<T> {
    const attended = Attended.of(work)
    const outcome = attended.outcome().then((failure) => {
      if (failure === null || attended.attended) return
      if (this.ended) {
        this.policy.log.error(
          { err: failure.error },
          'a session could not be changed after its response'
        )
      } else {
        this.failures ??= []
        this.failures.push({ by: attended, error: failure.error })
      }
    })
    if (!this.ended) this.holdResponse(outcome)
    return attended
  }

  destroy(): Promise<void> {
    const { record, stored } = this
    this.reset(null, null)
    this.endedHere = true
    this.cookie = stored || this.hasCookie ? 'clear' : 'none'
    if (record === null || !stored) return Promise.resolve()
    const destroying = this.policy.store.destroy(record)
    return this.settle(destroying, () =>
      announce(events.destroyed, this.policy.sessionName, record.handle)
    )
  }

  /** Moves the session to a new id. What is not kept whole is nobody's any more. */
  renew(keep: Keep): Promise<void> {
    return this.inTurn(() => {
      this.leaveDestroyed(false)
      const { record } = this
      if (record === null) return Promise.resolve()
      return this.moveTo(keep === true ? record : NOBODY, keep)
    })
  }

  /** Moves the session to a new id, for whoever has it from now on. */
  renewFor(change: HolderChange): Promise<void> {
    return this.inTurn(() => {
      this.leaveDestroyed(!isSilent(change))
      const holder = this.holderAfter(change)
      return this.moveTo(holder, change.keep ?? !this.isLeft(holder))
    })
  }

  /**
   * Moves the session when no exclusive route has it: what that changes would go to the former id,
   * and the next request for it would find the session as it was before. The route that has it may
   * move it itself; those behind it queue under the new id as well.
   *
   * @throws {SessionBusyError} after a bounded wait
   */
  private inTurn(move: () => Promise<void>): Promise<void> {
    const { record, policy } = this
    if (record === null || record.destroyed || !this.stored || this.hasTurn) return move()
    const leave = policy.turns.tryEnter(record.handle)
    return leave === null ? this.waitToMove(record, move) : thenLeave(leave, move)
  }

  private async waitToMove(record: SessionRecord, move: () => Promise<void>): Promise<void> {
    const leave = await this.policy.turns.enter(record.handle)
    if (typeof leave === 'string') {
      throw new SessionBusyError('an exclusive route holds it for too long')
    }
    await thenLeave(leave, async () => {
      await this.catchUp()
      await move()
    })
  }

  private moveTo(holder: Holder, keep: Keep): Promise<void> {
    this.collect()
    const { record: old, stored } = this
    if (old === null) return Promise.resolve()
    const now = this.policy.now()
    const id = createSessionId()
    // A session that goes on under another id is as old as it was: absolute timeouts still count.
    const createdAt = keep === false || isLogin(old, holder) ? now : old.createdAt
    const fresh = this.policy.store.create({
      handle: handleOf(id),
      createdAt,
      lastSeenAt: now,
      expiresAt: old.expiresAt
    })
    if (keep !== false) fresh.inherit(old, keep === true ? null : keep)
    fresh.expiry = this.expiryFor(holder, keep === false)
    fresh.principal = holder.principal
    fresh.metadata = holder.metadata
    this.move(fresh, id)
    noteActivity(fresh, this.policy)
    this.cookie = 'set'
    if (!stored) {
      this.markDirty()
      return Promise.resolve()
    }
    this.stored = true
    // Until it is stored, setting again what it has is worth a write.
    const notes = notesOf(fresh)
    const revision = ++notes.revision
    const replacing = this.replace(old, fresh, keep)
    return this.settle(replacing, (replaced) => {
      notes.storedRevision = Math.max(notes.storedRevision, revision)
      if (replaced) announceRenewal(this.policy.sessionName, old.handle, fresh.handle)
      else this.vanished(fresh)
    })
  }

  /** Whoever waits for the former id's turn has to wait for that of the new one, which nobody knows yet. */
  private replace(old: SessionRecord, fresh: SessionRecord, keep: Keep): Promise<boolean> {
    const { turns, store } = this.policy
    const following = turns.follow(old.handle, fresh.handle)
    if (following === undefined) return store.replace(old, fresh, keep)
    return following.then(() => store.replace(old, fresh, keep))
  }

  /** Drops this request's unsaved changes and reads what is stored. */
  async reload(): Promise<void> {
    const record = this.record
    if (record === null) return
    if (this.stored && this.isUnshared) return this.loadAnew(record)
    const stored = this.stored ? await this.policy.store.read(record.handle) : null
    if (stored === null) {
      this.leave()
      return
    }
    // What parallel requests have changed meanwhile is theirs to save.
    for (const key of this.changes?.keys() ?? []) record.apply(key, stored.data.get(key))
    record.expiry = stored.expiry
    record.principal = stored.principal
    record.metadata = stored.metadata
    record.createdAt = stored.createdAt
    this.forgetChanges()
  }

  /** Takes back what was set since the last save, before a response that shall not store it. */
  async discard(): Promise<void> {
    if (!this.mayBeModified) return
    try {
      await this.reload()
    } finally {
      this.forgetChanges()
    }
    // This request, or another, has ended the session that its visitor has the cookie of.
    if (!this.stored && this.hasCookie) this.cookie = 'clear'
  }

  /** Sees what others have stored meanwhile. Where all share one live record, it does already. */
  async catchUp(): Promise<void> {
    if (this.record === null || !this.stored || !this.isUnshared) return
    await this.save()
    await this.reload()
  }

  /** Makes a key fit for `swap`: what this request itself has set is stored, to be compared with. */
  async beginUpdate(key: string): Promise<void> {
    this.collect()
    if (this.stored && this.isUnshared && this.changes?.has(key)) await this.save()
  }

  /**
   * Sets a key to what was made of the encoded value `expected`. False if another process has
   * changed it meanwhile: the new value is then here, and nothing was set.
   */
  async swap(key: string, expected: string | undefined, value: unknown): Promise<boolean> {
    const record = this.own()
    const { store } = this.policy
    if (store.compareAndSet === undefined || !this.stored || record.destroyed) {
      this.set(key, value)
      return true
    }
    const text = this.encode(key, value)
    this.disown(key)
    const swapped = await store.compareAndSet(record, key, expected, text)
    if (this.record === record) {
      if (!record.destroyed) {
        if (swapped) this.keepSwapped(record, key, value, text)
      } else if (this.isDead(record)) this.lost(record)
      else this.change(key, text)
    }
    return swapped || record.destroyed
  }

  /**
   * A login after somebody else's logout is no revival: it begins a new session. Who begins none
   * relies on the end of this one, and the response waits for it: should it fail, this one lives on.
   */
  leaveDestroyed(begins: boolean): void {
    const { record } = this
    if (!record?.destroyed) return
    if (!begins) this.holdResponse(this.policy.store.save(record, null))
    this.leave()
  }

  override markDirty(): void {
    super.markDirty()
    if (!this.ended || this.autosave) return
    this.autosave = true
    this.policy.background.plan(() => {
      this.autosave = false
      return this.saveInBackground()
    })
  }

  protected override reset(record: SessionRecord | null, id: string | null): void {
    super.reset(record, id)
    this.endedHere = false
  }

  private leave(): void {
    this.missed = true
    this.reset(null, null)
    this.cookie = 'none'
  }

  private isDue(record: SessionRecord): boolean {
    if (this.dirty) return true
    if (record.failure !== null || !this.stored) return false
    return whatIsDue('response', record, this.policy).touch
  }

  private store(record: SessionRecord): Promise<void> {
    return new Promise((resolve, reject) => {
      this.write(record, (error) => (error === null ? resolve() : reject(error)))
    })
  }

  /** Calls back instead of returning a promise: each response that changes something comes by. */
  private write(record: SessionRecord, done: Done): void {
    const { changes } = this
    const first = !this.stored
    const notes = notesOf(record)
    const { revision } = notes
    this.changes = null
    this.dirty = false
    this.stored = true
    if (changes !== null) noteActivity(record, this.policy)
    notes.storedSeenAt = record.lastSeenAt
    notes.storedExpiresAt = record.expiresAt
    const failed = (error: Error): void => {
      if (first) this.stored = false
      done(error)
    }
    this.policy.store.save(record, changes).then(() => {
      notes.storedRevision = Math.max(notes.storedRevision, revision)
      // Unless this request itself has ended it meanwhile, and is on another by now.
      if (record.destroyed && this.record === record) {
        if (this.isDead(record)) this.lost(record)
        else this.restoreChanges(changes)
      } else announce(first ? events.created : events.saved, this.policy.sessionName, record.handle)
      done(null)
    }, failed)
  }

  private settle<T>(work: Promise<T>, succeeded: (outcome: T) => void): Promise<void> {
    const settling = work.then(succeeded, (error: unknown) => {
      // The session lives on, and without its cookie its visitor could not try again.
      if (this.cookie === 'clear') this.cookie = 'none'
      this.endedHere = false
      throw error
    })
    this.holdResponse(settling)
    return settling
  }

  /** Whoever forgets to await must not bring the process down; the response gets the error. */
  private holdResponse(work: Promise<void>): void {
    const settling = Promise.all([this.settling, work]).then(() => {})
    settling.catch(() => {})
    this.settling = settling
  }

  /** Several processes write: each load gave a record of its own, which nobody else changes. */
  private get isUnshared(): boolean {
    return this.policy.store.writers === 'several'
  }

  private async loadAnew(record: SessionRecord): Promise<void> {
    const loaded = await this.policy.store.loadByHandle(record.handle)
    if (loaded === null) {
      this.leave()
      return
    }
    this.record = loaded
    this.forgetChanges()
    if (this.policy.rolling) noteActivity(loaded, this.policy)
  }

  private async saveDetached(record: SessionRecord): Promise<void> {
    if (this.isUnshared) await this.store(record)
    else await this.saveShared(record)
    const current = this.record
    if (current?.destroyed && !this.isDead(current)) await this.follow(current)
  }

  private async saveShared(record: SessionRecord): Promise<void> {
    const live = await this.policy.store.loadByHandle(record.handle)
    if (live === null) {
      if (!record.destroyed || this.isDead(record)) this.lost(record)
      return
    }
    if (live !== record) {
      // An earlier write of this object has failed, and another one stands for the session.
      for (const [key, text] of this.changes ?? []) live.apply(key, text)
      live.expiry = record.expiry
      live.metadata = record.metadata
      live.principal = record.principal
      live.createdAt = record.createdAt
      notesOf(live).revision++
      this.record = live
    }
    await this.store(live)
  }

  /** Goes on with the record that a renewal has put in the place of this one, and changes that. */
  private async follow(record: SessionRecord): Promise<void> {
    const next = await this.policy.store.successorOf(record)
    // Unless another save of this request was here first.
    if (this.record === record) {
      // What was meant for one user is nothing for the next.
      if (next === null || isLeft(record, next)) this.lost(record)
      else this.carryOver(record, next)
    }
    await this.saveChanges()
  }

  private async saveInBackground(): Promise<void> {
    try {
      await this.save()
    } catch (error) {
      this.policy.log.error({ err: error }, 'a session could not be saved after its response')
    }
  }

  private dropUnsent(record: SessionRecord): void {
    this.reset(null, null)
    this.policy.log.warn(
      { session: shortHandle(record.handle) },
      'a new session was dropped: its response has left without a cookie. Set values before it leaves; after reply.hijack(), await session.save() and send what fastify.sessions.cookieOf(session) gives'
    )
  }

  /** Another process ended the session while this one moved it. */
  private vanished(fresh: SessionRecord): void {
    if (this.record !== fresh) return
    this.lost(fresh)
    this.reset(null, null)
    this.endedHere = true
    this.cookie = 'none'
  }

  private lost(record: SessionRecord): void {
    this.missed = true
    this.forgetChanges()
    this.policy.log.debug(
      { session: shortHandle(record.handle) },
      'session changes were dropped: it was destroyed, renewed or expired in the meantime'
    )
  }
}

const NOBODY: Holder = { principal: null, metadata: null }

function announceRenewal(sessionName: string, previous: string, handle: string): void {
  if (!events.regenerated.hasSubscribers) return
  const session = shortHandle(handle)
  events.regenerated.publish({ sessionName, session, previous: shortHandle(previous) })
}

function thenLeave(leave: Leave, work: () => Promise<void>): Promise<void> {
  let working: Promise<void>
  try {
    working = work()
  } catch (error) {
    leave()
    throw error
  }
  working.then(leave, leave)
  return working
}
