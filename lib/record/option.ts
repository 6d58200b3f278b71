import { InvalidOptionError } from '../errors.js'
import { LONGEST_TIMER } from '../timers.js'
import { type Duration, toMilliseconds } from './expiry.js'

/** Gives what an option means, or throws an error that names it. */
export type Check<T> = (value: unknown, name: string) => T

/** One option of a table: how it is checked, and what it is if it is not given. */
export interface Option<T> {
  readonly read: Check<T>
}

/** What a table of options gives. */
export type Checked<Table extends Record<string, Option<unknown>>> = {
  readonly [Name in keyof Table]: Table[Name] extends Option<infer T> ? T : never
}

/** An option with a default, which goes through the same check. */
export function option<T>(check: Check<T>, otherwise: unknown): Option<T> {
  return { read: (value, name) => check(value === undefined ? otherwise : value, name) }
}

/** An option that need not be given; it is then `none`. */
export function optional<T, None>(check: Check<T>, none: None): Option<T | None> {
  return { read: (value, name) => (value === undefined ? none : check(value, name)) }
}

/** What is checked where it is used. */
export const AS_GIVEN: Option<unknown> = { read: (value) => value }

/** What to say of names that are not in a table. */
interface Naming {
  /** Stands before each name in errors, as `cookie.` does. */
  readonly prefix?: string
  /** Names that others read, to be passed over. */
  readonly foreign?: readonly string[]
  /** Names from elsewhere, and what to use here. */
  readonly hints?: Readonly<Record<string, string>>
}

/**
 * Checks options by a table of all that there are.
 *
 * @throws {InvalidOptionError} naming the first one that is unknown or wrong
 */
export function readOptions<Table extends Record<string, Option<unknown>>>(
  table: Table,
  given: unknown,
  { prefix = '', foreign = [], hints = {} }: Naming = {}
): Checked<Table> {
  const options = anyObject(given, prefix.replace(/\.$/, '') || 'options')
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(table, name) || foreign.includes(name)) continue
    const use = Object.hasOwn(hints, name)
      ? hints[name]
      : `use ${Object.keys(table).join(', ')}; see docs/api.md`
    throw new InvalidOptionError(`${prefix}${name}`, `is not known: ${use}`)
  }
  const read = Object.entries(table).map(([name, { read }]) => [
    name,
    read(options[name], `${prefix}${name}`)
  ])
  return Object.fromEntries(read)
}

export function anyObject(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) refuse(name, 'must be an object')
  return value as Record<string, unknown>
}

export function flag(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') refuse(name, 'must be true or false')
  return value
}

export function oneOf<const T>(...choices: readonly T[]): Check<T> {
  const words = choices.map((choice) => JSON.stringify(choice))
  const list = `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
  return (value, name) => {
    if (!choices.includes(value as T)) refuse(name, `must be ${list}`)
    return value as T
  }
}

/** A string that the system takes for a name: not empty, and without NUL. */
export function systemName(what: string): Check<string> {
  return (value, name) => {
    if (typeof value !== 'string' || value === '' || value.includes('\0')) {
      refuse(name, `must be ${what}`)
    }
    return value
  }
}

export function string(value: unknown, name: string): string {
  if (typeof value !== 'string') refuse(name, 'must be a string')
  return value
}

/** Of which type the caller says; what it takes and gives shows when it is called. */
export function anyFunction<T>(value: unknown, name: string): T {
  if (typeof value !== 'function') refuse(name, 'must be a function')
  return value as T
}

export function bytes(least: number, most = Number.MAX_SAFE_INTEGER): Check<number> {
  return (value, name) => {
    const count = value as number
    if (!Number.isSafeInteger(count) || count < least || count > most) {
      refuse(name, `must be a whole number of bytes, at least ${least}`)
    }
    return count
  }
}

/** In ms. */
export function duration(longest = Number.POSITIVE_INFINITY, choice = ''): Check<number> {
  return (value, name) => {
    let milliseconds: number
    try {
      milliseconds = toMilliseconds(value as Duration | number)
    } catch (error) {
      return refuse(name, `is wrong: ${(error as Error).message} ${choice}`.trim())
    }
    if (milliseconds > longest) refuse(name, `must be at most ${longest} ms`)
    return milliseconds
  }
}

/** In ms, for a timer that repeats; `null` for never. */
export function interval(value: unknown, name: string): number | null {
  return value === false ? null : duration(LONGEST_TIMER, 'or false')(value, name)
}

export function clock(value: unknown, name: string): () => number {
  const now = value as () => number
  if (typeof now !== 'function' || !Number.isFinite(now())) {
    refuse(name, 'must be a function that gives milliseconds since 1970')
  }
  return now
}

export function refuse(name: string, problem: string): never {
  throw new InvalidOptionError(name, problem)
}
