import { HandleIndex } from './handle-index.js'
import { hashOf } from './handle-key.js'

/** More than memory can hold. */
const MOST_PLACES = 2 ** 27

/**
 * Values by handle, or by id. A `Map` compares texts along a chain, each of which is likely to be in
 * no cache of the processor; here a number tells nearly always.
 */
export class HandleTable<T extends object> {
  readonly #nameOf: (value: T) => string | null | undefined
  #values: (T | null)[] = []
  /** As signed numbers, which V8 keeps in the array itself. */
  #hashes: number[] = []
  #free: number[] = []
  readonly #index = new HandleIndex({ hashAt: (place) => this.#hashAt(place) }, MOST_PLACES)
  /** What is looked for. */
  #name = ''
  #hash = 0
  readonly #matches = (place: number): boolean =>
    this.#hashAt(place) === this.#hash && this.#nameOf(this.#values[place] as T) === this.#name

  /** @param nameOf what a value is filed under; nothing for one that is not to be found any more */
  constructor(nameOf: (value: T) => string | null | undefined) {
    this.#nameOf = nameOf
  }

  get size(): number {
    return this.#index.size
  }

  get(name: string): T | undefined {
    const place = this.#find(name)
    return place === -1 ? undefined : (this.#values[place] as T)
  }

  /** Files a value under its name, in the place of another. */
  set(name: string, value: T): void {
    const known = this.#find(name)
    const place = known === -1 ? (this.#free.pop() ?? this.#values.length) : known
    this.#values[place] = value
    if (known !== -1) return
    this.#hashes[place] = this.#hash | 0
    this.#index.add(this.#hash, place)
  }

  delete(name: string): void {
    const place = this.#find(name)
    if (place !== -1) this.#remove(place)
  }

  /**
   * Looks at so many places, and forgets values that are over.
   *
   * @returns where to go on, or `null` if that was the end
   */
  sweep(from: number, places: number, isOver: (value: T) => boolean): number | null {
    const to = from + places
    for (let place = from; place < to; place++) {
      if (place >= this.#values.length) return null
      const value = this.#values[place]
      if (value && isOver(value)) this.#remove(place)
    }
    return to
  }

  #find(name: string): number {
    this.#name = name
    this.#hash = hashOf(name)
    return this.#index.find(this.#hash, this.#matches)
  }

  #hashAt(place: number): number {
    return (this.#hashes[place] as number) >>> 0
  }

  #remove(place: number): void {
    this.#index.remove(this.#hashAt(place), place)
    this.#values[place] = null
    this.#free.push(place)
    if (this.size > 0) return
    this.#values = []
    this.#hashes = []
    this.#free = []
  }
}
