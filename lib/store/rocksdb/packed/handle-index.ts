/** What the index knows of the entries that it points to. */
export interface IndexedEntries {
  /** The first four bytes of the handle of the entry at this place. */
  hashAt(place: number): number
}

/** By the first byte of the handle: one that grows is so small a part that nobody waits for it. */
const SEGMENTS = 256
const FIRST_SLOTS = 8
const GROWTH = 1.5
const MOST_FILLED = 0.75
/** What the object of a segment takes beside its slots. */
const SEGMENT_BYTES = 200
const SLOT_BYTES = 4

/**
 * Finds entries by handle: hash tables with open addressing, of places alone. A handle is a hash
 * itself, so its first bytes serve as one; the whole of it is compared where the entry is.
 *
 * A `Map` would take five times as much, and stand still for each time that it doubles.
 */
export class HandleIndex {
  readonly #entries: IndexedEntries
  /** A slot holds a place plus one, or 0 if it is free. */
  readonly #segments: (Uint32Array | undefined)[] = new Array(SEGMENTS)
  readonly #counts = new Uint32Array(SEGMENTS)
  size = 0
  /** What it takes, in bytes. */
  bytes = 0

  constructor(entries: IndexedEntries) {
    this.#entries = entries
  }

  /** The place for which `matches` holds, among those of entries with this hash; -1 if none. */
  find(hash: number, matches: (place: number) => boolean): number {
    const slots = this.#segments[hash >>> 24]
    if (slots === undefined) return -1
    for (let slot = homeOf(hash, slots.length); ; slot = after(slot, slots)) {
      const held = slots[slot] as number
      if (held === 0) return -1
      if (matches(held - 1)) return held - 1
    }
  }

  add(hash: number, place: number): void {
    const segment = hash >>> 24
    const count = (this.#counts[segment] as number) + 1
    this.#counts[segment] = count
    this.size++
    let slots = this.#segments[segment]
    if (slots === undefined || count > slots.length * MOST_FILLED) {
      slots = this.#grow(segment, slots)
    }
    insert(slots, hash, place + 1)
  }

  /** An entry with this hash is at another place from now on. */
  move(hash: number, from: number, to: number): void {
    const slots = this.#segments[hash >>> 24] as Uint32Array
    slots[slotOf(slots, hash, from)] = to + 1
  }

  remove(hash: number, place: number): void {
    const segment = hash >>> 24
    const slots = this.#segments[segment] as Uint32Array
    this.#counts[segment] = (this.#counts[segment] as number) - 1
    this.size--
    let free = slotOf(slots, hash, place)
    // Whatever was pushed behind this slot moves up, so that a search may end at the first free one.
    for (let slot = after(free, slots); ; slot = after(slot, slots)) {
      const held = slots[slot] as number
      if (held === 0) break
      const home = homeOf(this.#entries.hashAt(held - 1), slots.length)
      const reachable = free <= slot ? home <= free || home > slot : home <= free && home > slot
      if (!reachable) continue
      slots[free] = held
      free = slot
    }
    slots[free] = 0
  }

  #grow(segment: number, old: Uint32Array | undefined): Uint32Array {
    const length = old === undefined ? FIRST_SLOTS : Math.ceil(old.length * GROWTH)
    const slots = new Uint32Array(length)
    for (const held of old ?? []) {
      if (held !== 0) insert(slots, this.#entries.hashAt(held - 1), held)
    }
    this.#segments[segment] = slots
    this.bytes +=
      SLOT_BYTES * (length - (old?.length ?? 0)) + (old === undefined ? SEGMENT_BYTES : 0)
    return slots
  }
}

/** Where the search for a hash begins. Its first byte has named the segment. */
function homeOf(hash: number, slots: number): number {
  return Math.floor(((hash & 0xff_ffff) / 0x100_0000) * slots)
}

function after(slot: number, slots: Uint32Array): number {
  return slot + 1 === slots.length ? 0 : slot + 1
}

function insert(slots: Uint32Array, hash: number, held: number): void {
  let slot = homeOf(hash, slots.length)
  while (slots[slot] !== 0) slot = after(slot, slots)
  slots[slot] = held
}

function slotOf(slots: Uint32Array, hash: number, place: number): number {
  let slot = homeOf(hash, slots.length)
  while (slots[slot] !== place + 1) slot = after(slot, slots)
  return slot
}
