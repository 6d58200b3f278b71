import { isSaved } from '../../../record/notes.js'
import { HandleIndex } from '../handle-index.js'
import { HandleKey } from '../handle-key.js'
import type { LiveRecord } from '../live-record.js'
import { packRecord, unpackRecord } from './packed-codec.js'
import { SlabRing } from './slab-ring.js'

/**
 * Records that nobody works on, as bytes: half of what an object takes, and nothing for the garbage
 * collector to walk. Who takes one gets an object, and from then on its bytes are worth nothing:
 * they come back into use only by being written anew. So they never say what is no longer true.
 */
export class PackedRecords {
  readonly #limit: number
  readonly #index: HandleIndex
  readonly #ring: SlabRing
  readonly #key = new HandleKey()
  readonly #matches = (place: number): boolean => this.#ring.isOf(place, this.#key.view)

  /** @param limit in bytes, index included */
  constructor(limit: number) {
    this.#limit = limit
    this.#ring = new SlabRing(limit, {
      moved: (hash, from, to) => this.#index.move(hash, from, to),
      dropped: (hash, place) => this.#index.remove(hash, place)
    })
    this.#index = new HandleIndex(this.#ring, this.#ring.mostPlaces)
  }

  /** How many records it has. */
  get size(): number {
    return this.#ring.current
  }

  /** What it takes, in bytes. */
  get bytes(): number {
    return this.#ring.bytes + this.#index.bytes
  }

  /** The record of this handle, as an object that stands for it from now on. */
  take(handle: string): LiveRecord | undefined {
    const place = this.#find(handle)
    const packed = place === -1 ? null : this.#ring.lend(place)
    return packed === null ? undefined : unpackRecord(handle, packed)
  }

  /** An object stands for this session now, wherever it came from. */
  lend(handle: string): void {
    const place = this.#find(handle)
    if (place !== -1) this.#ring.lend(place)
  }

  /**
   * Takes in the state of an object that is let go of, if it is one that others may build on.
   *
   * @param spare what there is of memory, in bytes, for one that nobody has asked for
   */
  put(record: LiveRecord, spare = 0): void {
    const place = this.#find(record.handle)
    // One that cannot fit is not packed to see that: the space for it would stay.
    if (!isStored(record) || record.size > this.#ring.largest) {
      this.#drop(place)
      return
    }
    const limit = this.#limit - this.#index.bytes
    // What nobody has asked for must not push out what somebody has.
    if (place === -1 && !record.asked && !this.#hasRoom(record, limit, spare)) return
    const content = packRecord(record)
    if (place !== -1 && this.#ring.rewrite(place, content)) return
    this.#drop(place)
    const added = this.#ring.append(this.#key.bytes, content, limit)
    if (added !== -1) this.#index.add(this.#key.hash, added)
  }

  delete(handle: string): void {
    this.#drop(this.#find(handle))
  }

  #find(handle: string): number {
    this.#key.set(handle)
    return this.#index.find(this.#key.hash, this.#matches)
  }

  #hasRoom({ size }: LiveRecord, limit: number, spare: number): boolean {
    const ring = this.#ring
    return ring.hasRoom(size) || (spare >= ring.slabBytes && ring.mayGrow(limit))
  }

  #drop(place: number): void {
    if (place === -1) return
    this.#index.remove(this.#key.hash, place)
    this.#ring.free(place)
  }
}

/** Whether nothing of it but the times of its last use is other than on disk. */
function isStored(record: LiveRecord): boolean {
  return (
    record.failure === null &&
    !record.destroyed &&
    record.indexedAt !== null &&
    record.indexedPrincipal === record.principal &&
    isSaved(record) &&
    hasItsParts(record)
  )
}

/** A value that a request has taken back may have been stored meanwhile, by another one's write. */
function hasItsParts({ data, parts }: LiveRecord): boolean {
  for (const [key, { text }] of parts ?? []) if (data.get(key) !== text) return false
  return true
}
