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
 * itself, so its first bytes serve as one; the whole of it is compared where the entry is. The bits
 * of a slot that no place needs have some of the hash, so that hardly any other entry is looked at,
 * each of which is likely to be in no cache of the processor.
 *
 * A `Map` would take five times as much, and stand still for each time that it doubles.
 */
export class HandleIndex {
  readonly #entries: IndexedEntries
  /** How many bits a place takes, and which: the others are a part of the hash. */
  readonly #placeBits: number
  readonly #placeMask: number
  /** A slot holds a place plus one, beside that part of the hash, or 0 if it is free. */
  readonly #segments: (Uint32Array | undefined)[] = new Array(SEGMENTS)
  readonly #counts = new Uint32Array(SEGMENTS)
  size = 0
  /** What it takes, in bytes. */
  bytes = 0

  /** @param mostPlaces all places are below that */
  constructor(entries: IndexedEntries, mostPlaces: number) {
    this.#entries = entries
    this.#placeBits = 32 - Math.clz32(mostPlaces)
    this.#placeMask = 0xffff_ffff >>> (32 - this.#placeBits)
  }

  /** The place for which `matches` holds, among those of entries with this hash; -1 if none. */
  find(hash: number, matches: (place: number) => boolean): number {
    const slots = this.#segments[hash >>> 24]
    if (slots === undefined) return -1
    const part = this.#partOf(hash)
    for (let slot = homeOf(hash, slots.length); ; slot = after(slot, slots)) {
      const held = slots[slot] as number
      if (held === 0) return -1
      if ((held & ~this.#placeMask) !== part) continue
      const place = this.#placeIn(held)
      if (matches(place)) return place
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
    insert(slots, hash, this.#held(hash, place))
  }

  /** An entry with this hash is at another place from now on. */
  move(hash: number, from: number, to: number): void {
    const slots = this.#segments[hash >>> 24] as Uint32Array
    slots[slotOf(slots, hash, this.#held(hash, from))] = this.#held(hash, to)
  }

  remove(hash: number, place: number): void {
    const segment = hash >>> 24
    const slots = this.#segments[segment] as Uint32Array
    this.#counts[segment] = (this.#counts[segment] as number) - 1
    this.size--
    let free = slotOf(slots, hash, this.#held(hash, place))
    // Whatever was pushed behind this slot moves up, so that a search may end at the first free one.
    for (let slot = after(free, slots); ; slot = after(slot, slots)) {
      const held = slots[slot] as number
      if (held === 0) break
      const home = homeOf(this.#entries.hashAt(this.#placeIn(held)), slots.length)
      const reachable = free <= slot ? home <= free || home > slot : home <= free && home > slot
      if (!reachable) continue
      slots[free] = held
      free = slot
    }
    slots[free] = 0
  }

  /** What a slot has of an entry. */
  #held(hash: number, place: number): number {
    return (this.#partOf(hash) | (place + 1)) >>> 0
  }

  #partOf(hash: number): number {
    return (hash << this.#placeBits) & ~this.#placeMask
  }

  #placeIn(held: number): number {
    return ((held & this.#placeMask) >>> 0) - 1
  }

  #grow(segment: number, old: Uint32Array | undefined): Uint32Array {
    const length = old === undefined ? FIRST_SLOTS : Math.ceil(old.length * GROWTH)
    const slots = new Uint32Array(length)
    for (const held of old ?? []) {
      if (held !== 0) insert(slots, this.#entries.hashAt(this.#placeIn(held)), held)
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

function slotOf(slots: Uint32Array, hash: number, held: number): number {
  let slot = homeOf(hash, slots.length)
  while (slots[slot] !== held) slot = after(slot, slots)
  return slot
}
