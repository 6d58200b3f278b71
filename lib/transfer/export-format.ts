import { type Expiry, expiryOf, MAX_TIME } from '../record/expiry.js'
import { isHandle } from '../record/handle.js'
import { checkPrincipal } from '../record/principal.js'
import { printableJson } from '../record/printable.js'
import { SessionRecord } from '../record/record.js'
import { decodeValue, encodeValue } from '../record/value.js'

/**
 * Sessions as NDJSON, one a line between a first line that names the format and a last one that
 * tells how many there were, so that a file that was cut off is known.
 *
 *     {"export":"fastify-sled-session","version":1,"createdAt":"2026-01-01T00:00:00.000Z"}
 *     {"handle":"…","createdAt":"…","lastSeenAt":"…","expiresAt":"…","expiry":null,
 *      "principal":"ann","metadata":{"agent":"…"},"data":{"counter":5},"typed":{"since":[7,0]}}
 *     {"sessions":1}
 *
 * What JSON can hold stands in `data` as itself; other values stand in `typed`, in the tagged form
 * of `value.ts`. Metadata that JSON cannot hold is `typedMetadata`.
 */
const EXPORT = 'fastify-sled-session'
const VERSION = 1

export function headerLine(now: number): string {
  const createdAt = new Date(now).toISOString()
  return `${JSON.stringify({ export: EXPORT, version: VERSION, createdAt })}\n`
}

export function footerLine(sessions: number): string {
  return `${JSON.stringify({ sessions })}\n`
}

/** One line; values go in as they are stored, since stored values are JSON already. */
export function recordLine(record: SessionRecord): string {
  const { handle, principal, metadata, expiry } = record
  const fields = [
    `"handle":${JSON.stringify(handle)}`,
    `"createdAt":${timeJson(record.createdAt)}`,
    `"lastSeenAt":${timeJson(record.lastSeenAt)}`,
    `"expiresAt":${timeJson(record.expiresAt)}`,
    `"expiry":${expiryJson(expiry)}`,
    `"principal":${JSON.stringify(principal)}`
  ]
  if (metadata !== null) fields.push(valueField(metadata, '"metadata":', '"typedMetadata":'))
  const plain: string[] = []
  const typed: string[] = []
  for (const [key, text] of record.data) {
    const name = `${JSON.stringify(key)}:`
    if (isTyped(text)) typed.push(name + text.slice(1))
    else plain.push(name + text)
  }
  fields.push(`"data":{${plain}}`)
  if (typed.length > 0) fields.push(`"typed":{${typed}}`)
  return `${printableJson(`{${fields}}`)}\n`
}

function isTyped(text: string): boolean {
  return text.charCodeAt(0) === 33 // !
}

function valueField(text: string, plain: string, typed: string): string {
  return isTyped(text) ? typed + text.slice(1) : plain + text
}

/** ISO 8601 where that is exact, which it is for whole milliseconds. */
function timeJson(time: number): string {
  return Number.isInteger(time) ? `"${new Date(time).toISOString()}"` : String(time)
}

function expiryJson(expiry: Expiry | null): string {
  if (expiry?.kind !== 'date-time') return JSON.stringify(expiry)
  return `{"kind":"date-time","at":${timeJson(expiry.at)}}`
}

/** What a line of an export is. */
export type Line =
  | { readonly kind: 'header' }
  | { readonly kind: 'record'; readonly record: SessionRecord }
  | { readonly kind: 'footer'; readonly sessions: number }

/** Why a line is not one of an export. It quotes nothing of the line, which may hold secrets. */
export class LineProblem extends Error {}

/** @throws {LineProblem} */
export function parseLine(json: string): Line {
  const line = parseObject(json)
  if ('export' in line) return parseHeader(line)
  if ('sessions' in line) {
    const { sessions } = line
    if (!Number.isSafeInteger(sessions)) throw new LineProblem('has no number as "sessions"')
    return { kind: 'footer', sessions: sessions as number }
  }
  return { kind: 'record', record: parseRecord(line) }
}

type Fields = Record<string, unknown>

function parseObject(json: string): Fields {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    // The error of JSON.parse quotes the line.
    throw new LineProblem('is no JSON')
  }
  return fieldsOf(value, 'is no JSON object')
}

function fieldsOf(value: unknown, problem: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new LineProblem(problem)
  }
  return value as Fields
}

function parseHeader(line: Fields): Line {
  if (line.export !== EXPORT) throw new LineProblem('begins an export of something else')
  if (line.version !== VERSION) {
    throw new LineProblem(
      `is of an export version that this one does not know; it knows ${VERSION}`
    )
  }
  return { kind: 'header' }
}

const FIELDS = new Set(['handle', 'createdAt', 'lastSeenAt', 'expiresAt', 'expiry', 'principal'])
for (const name of ['metadata', 'typedMetadata', 'data', 'typed']) FIELDS.add(name)

function parseRecord(line: Fields): SessionRecord {
  for (const name of Object.keys(line)) {
    if (!FIELDS.has(name)) throw new LineProblem('has a field that no session has')
  }
  const record = new SessionRecord({
    handle: parseHandle(line.handle),
    createdAt: parseTime(line.createdAt, 'createdAt'),
    lastSeenAt: parseTime(line.lastSeenAt, 'lastSeenAt'),
    expiresAt: parseTime(line.expiresAt, 'expiresAt')
  })
  record.expiry = parseExpiry(line.expiry)
  record.principal = parsePrincipal(line.principal)
  record.metadata = parseMetadata(line)
  for (const [key, value] of Object.entries(fieldsOf(line.data, 'has no object as "data"'))) {
    record.apply(key, plainValue(value))
  }
  const typed = fieldsOf(line.typed ?? {}, 'has no object as "typed"')
  for (const [key, value] of Object.entries(typed)) record.apply(key, typedValue(value))
  return record
}

function parseHandle(value: unknown): string {
  if (isHandle(value)) return value
  throw new LineProblem('has no handle: 43 characters of base64url')
}

function parseTime(value: unknown, name: string): number {
  const time = typeof value === 'string' ? Date.parse(value) : value
  if (typeof time === 'number' && Math.abs(time) <= MAX_TIME) return time
  throw new LineProblem(`has no time as "${name}": ISO 8601, or milliseconds since 1970`)
}

function parseExpiry(value: unknown): Expiry | null {
  if (value === null) return null
  const { kind, milliseconds, at } = fieldsOf(value, 'has no expiry of its own, nor null')
  const amount = kind === 'date-time' ? parseTime(at, 'expiry.at') : milliseconds
  const expiry = expiryOf(kind, amount)
  if (expiry === null) throw new LineProblem('has an expiry of no known kind')
  return expiry
}

function parsePrincipal(value: unknown): string | null {
  if (value === null) return null
  try {
    checkPrincipal(value as string)
    return value as string
  } catch {
    throw new LineProblem('has a principal that is neither a string of fitting length nor null')
  }
}

function parseMetadata({ metadata, typedMetadata }: Fields): string | null {
  if (typedMetadata !== undefined) return typedValue(typedMetadata)
  return metadata === undefined ? null : plainValue(metadata)
}

// The length of its line bounds a value.
const UNBOUNDED = Number.MAX_SAFE_INTEGER

function plainValue(value: unknown): string {
  try {
    return encodeValue('', value, UNBOUNDED)
  } catch {
    throw new LineProblem('has a value that is nested too deep')
  }
}

/** Decoded now: a wrong value would fail in a visitor's request later. */
function typedValue(value: unknown): string {
  try {
    const text = `!${JSON.stringify(value)}`
    if (encodeValue('', decodeValue(text), UNBOUNDED) === text) return text
  } catch {}
  throw new LineProblem('has a typed value that stands for nothing')
}
