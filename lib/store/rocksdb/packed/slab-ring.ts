const MOST_SLAB_BYTES = 1024 * 1024
const LEAST_SLAB_BYTES = 64 * 1024
const SLABS_IN_BUDGET = 32
const UNIT = 8
/** Places take 32 bits. */
const MOST_BYTES = 2 ** 32 * UNIT - 2 * MOST_SLAB_BYTES
/** What an entry may grow by in its place: a counter or a flag more must not move every session. */
const SLACK = 12
/** A capacity in units fits into two bytes. */
const MOST_CAPACITY = 0xffff * UNIT
/** So many slabs at most are looked through for one new entry; then the start of the last is emptied. */
const SLABS_PER_APPEND = 4
const EMPTIED_PART = 1 / 8

/*
 * An entry:
 *
 *     0   2  capacity in units
 *     2   1  state
 *     3   32 handle
 *     35  .. content
 */
const STATE = 2
const HANDLE = 3
const ENTRY_HEADER = 35

const FREED = 0
const CURRENT = 1
/** It no longer holds what is true; its place is kept for what will. */
const LENT = 2
/** Beside one of the two: asked for since the ring last came by. */
const USED = 4

/** What hears of entries that the ring itself moves or lets go of. */
export interface RingListener {
  moved(hash: number, from: number, to: number): void
  dropped(hash: number, place: number): void
}

interface Slab {
  readonly bytes: Buffer
  readonly view: DataView
  /** Entries lie one behind the other up to here. */
  end: number
  /** What lay there has made room before. */
  swept: boolean
}

/**
 * Entries of bytes under handles, in slabs outside the heap: however many there are, the garbage
 * collector sees some slabs. They are filled one after the other, and when all that the budget
 * allows are full, it begins again at the first. What was asked for since the last round stays, and
 * what was not makes room.
 *
 * A place names an entry until it is freed, moved or dropped.
 */
export class SlabRing {
  readonly #listener: RingListener
  readonly #slabs: Slab[] = []
  readonly slabBytes: number
  readonly #most: number
  /** All places are below that. */
  readonly mostPlaces: number
  #at = 0
  /** What entries take that are not freed, in bytes. */
  #held = 0
  /** How many entries are current. */
  current = 0

  /** @param budget in bytes, from which the size of slabs follows */
  constructor(budget: number, listener: RingListener) {
    this.#listener = listener
    const wanted = Math.floor(budget / SLABS_IN_BUDGET / UNIT) * UNIT
    this.slabBytes = Math.max(LEAST_SLAB_BYTES, Math.min(MOST_SLAB_BYTES, wanted))
    this.#most = Math.min(budget, MOST_BYTES)
    this.mostPlaces = Math.ceil((this.#most + this.slabBytes) / UNIT)
  }

  /** The most that an entry may hold, in bytes. */
  get largest(): number {
    return Math.min(this.slabBytes, MOST_CAPACITY) - ENTRY_HEADER - SLACK - UNIT
  }

  get bytes(): number {
    return this.#slabs.length * this.slabBytes
  }

  /**
   * Whether the slab that is being filled has a place for an entry of about this size, which no
   * other one has to make, nor will need: it is filled for the first time, or most of all is free.
   */
  hasRoom(content: number): boolean {
    const slab = this.#slabs[this.#at]
    if (slab === undefined || (slab.swept && 2 * this.#held > this.bytes)) return false
    return slab.end + capacityFor(content + SLACK) <= this.slabBytes
  }

  /** Whether another slab is within the limit. */
  mayGrow(limit: number): boolean {
    return this.bytes + this.slabBytes <= Math.min(limit, this.#most)
  }

  /**
   * Adds an entry, as a current one.
   *
   * @param limit up to which the slabs may grow, in bytes
   * @returns its place, or -1 if it does not fit
   */
  append(handle: Uint8Array, content: Uint8Array, limit: number): number {
    if (content.length > this.largest) return -1
    const capacity = capacityFor(content.length + SLACK)
    const slab = this.#slabWithRoom(capacity, limit)
    if (slab === null) return -1
    const at = slab.end
    slab.end += capacity
    this.#held += capacity
    slab.view.setUint16(at, capacity / UNIT)
    slab.bytes[at + STATE] = FREED
    this.#mark(slab, at, CURRENT)
    slab.bytes.set(handle, at + HANDLE)
    slab.bytes.set(content, at + ENTRY_HEADER)
    return this.#place(this.#at, at)
  }

  /** Makes an entry current again with other content; false if that does not fit its place. */
  rewrite(place: number, content: Uint8Array): boolean {
    const slab = this.#slabOf(place)
    const at = this.#offset(place)
    const capacity = slab.view.getUint16(at) * UNIT
    const needed = capacityFor(content.length)
    // One that has shrunk to less than half is better off elsewhere.
    if (needed > capacity || 2 * needed < capacity) return false
    this.#mark(slab, at, CURRENT | USED)
    slab.bytes.set(content, at + ENTRY_HEADER)
    return true
  }

  /** Where the content of a current entry is, or `null`. From now on it is not current. */
  lend(place: number): { bytes: Buffer; view: DataView; at: number } | null {
    const slab = this.#slabOf(place)
    const at = this.#offset(place)
    const { bytes, view } = slab
    const current = isCurrent(bytes[at + STATE])
    this.#mark(slab, at, LENT | USED)
    return current ? { bytes, view, at: at + ENTRY_HEADER } : null
  }

  free(place: number): void {
    this.#free(this.#slabOf(place), this.#offset(place))
  }

  #free(slab: Slab, at: number): void {
    this.#held -= slab.view.getUint16(at) * UNIT
    this.#mark(slab, at, FREED)
  }

  hashAt(place: number): number {
    return this.#slabOf(place).view.getUint32(this.#offset(place) + HANDLE)
  }

  /** Whether an entry is of this handle. */
  isOf(place: number, handle: DataView): boolean {
    const { view } = this.#slabOf(place)
    const at = this.#offset(place) + HANDLE
    for (let word = 0; word < 32; word += 4) {
      if (view.getInt32(at + word) !== handle.getInt32(word)) return false
    }
    return true
  }

  #mark({ bytes }: Slab, at: number, state: number): void {
    if (isCurrent(bytes[at + STATE])) this.current--
    if (isCurrent(state)) this.current++
    bytes[at + STATE] = state
  }

  #place(slab: number, at: number): number {
    return (slab * this.slabBytes + at) / UNIT
  }

  #slabOf(place: number): Slab {
    return this.#slabs[Math.floor((place * UNIT) / this.slabBytes)] as Slab
  }

  #offset(place: number): number {
    return (place * UNIT) % this.slabBytes
  }

  #slabWithRoom(capacity: number, limit: number): Slab | null {
    const current = this.#slabs[this.#at]
    if (current !== undefined && current.end + capacity <= this.slabBytes) return current
    if (this.mayGrow(limit)) return this.#addSlab()
    if (current === undefined) return null
    for (let looked = 1; ; looked++) {
      this.#at = (this.#at + 1) % this.#slabs.length
      const slab = this.#slabs[this.#at] as Slab
      const from = looked < SLABS_PER_APPEND ? 0 : Math.max(capacity, EMPTIED_PART * this.slabBytes)
      this.#sweep(slab, from)
      if (slab.end + capacity <= this.slabBytes) return slab
    }
  }

  #addSlab(): Slab {
    // Not zeroed: the system gives the pages as they are filled.
    const bytes = Buffer.allocUnsafeSlow(this.slabBytes)
    const slab = { bytes, view: new DataView(bytes.buffer), end: 0, swept: false }
    this.#at = this.#slabs.push(slab) - 1
    return slab
  }

  /** Moves what stays to the start of the slab, which is nothing of what begins before `from`. */
  #sweep(slab: Slab, from: number): void {
    const { bytes, view, end } = slab
    let to = 0
    for (let at = 0; at < end; ) {
      const capacity = view.getUint16(at) * UNIT
      const state = bytes[at + STATE] as number
      if (state !== FREED) {
        const hash = view.getUint32(at + HANDLE)
        if (at >= from && state === (CURRENT | USED)) {
          if (to !== at) bytes.copyWithin(to, at, at + capacity)
          bytes[to + STATE] = CURRENT
          this.#listener.moved(hash, this.#place(this.#at, at), this.#place(this.#at, to))
          to += capacity
        } else {
          this.#free(slab, at)
          this.#listener.dropped(hash, this.#place(this.#at, at))
        }
      }
      at += capacity
    }
    slab.end = to
    slab.swept = true
  }
}

function isCurrent(state: number | undefined): boolean {
  return state !== undefined && (state & CURRENT) !== 0
}

function capacityFor(content: number): number {
  return Math.ceil((ENTRY_HEADER + content) / UNIT) * UNIT
}
