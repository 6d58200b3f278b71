import { inspect } from 'node:util'
import type { Command } from 'commander'
import { RecordCorruptError, StoreDamagedError } from '../../errors.js'
import { shortHandle } from '../../record/handle.js'
import { printable } from '../../record/printable.js'
import type { SessionRecord } from '../../record/record.js'
import { decodeValue } from '../../record/value.js'
import type { LeftOut, SessionStore } from '../../store/session-store.js'
import { recordLine } from '../../transfer/export-format.js'
import {
  type CommonOptions,
  type Context,
  createCommand,
  describeOpeners,
  findOpeners,
  kindAt,
  withReader
} from './command.js'
import { ExitCode } from './exit-code.js'
import { findSession } from './find.js'
import { bytes, count, describeUnreadable, fields } from './output.js'
import { start } from './start.js'

interface LookingOptions extends CommonOptions {
  principal?: string
  data?: boolean
}

/** Adds `stats`, `list` and `show`. */
export function addLookingCommands(program: Command): void {
  program.addCommand(
    createCommand('stats', 'How many sessions there are and what they take.', [
      'stats ./storage',
      'stats ./storage --json'
    ])
      .argument('<database>', 'folder of the database')
      .action((path: string, options: LookingOptions) => start(options, (c) => stats(path, c)))
  )
  program.addCommand(
    createCommand('list', 'Sessions, one a line; with --json one JSON object a line.', [
      'list ./storage',
      'list ./storage --principal ann',
      'list ./storage --json | jq -r .principal | sort | uniq -c'
    ])
      .argument('<database>', 'folder of the database')
      .option('--principal <name>', 'only those of this user')
      .option('--data', 'with what is stored in them; it may be secret')
      .action((path: string, options: LookingOptions) =>
        start(options, (c) => list(path, options, c))
      )
  )
  program.addCommand(
    createCommand('show', 'One session: its times, its user, and the keys that it holds.', [
      'show ./storage oX3bYw1N',
      'show ./storage oX3bYw1N --data'
    ])
      .argument('<database>', 'folder of the database')
      .argument('<handle>', 'handle of the session, or how it begins, as in log lines')
      .option('--data', 'with the values; they may be secret')
      .action((path: string, handle: string, options: LookingOptions) =>
        start(options, (c) => show(path, handle, options, c))
      )
  )
}

async function stats(path: string, context: Context): Promise<ExitCode> {
  const found = await withReader(path, context, async (store) => store.stats?.())
  const { sessions, diskBytes, engine } = found ?? { sessions: 0, diskBytes: 0, engine: {} }
  const openIn = await findOpeners(path, (await kindAt(path, context)) ?? 'rocksdb')
  await context.output.result({ sessions, diskBytes, openIn, engine }, () =>
    fields([
      ['sessions', `about ${count(sessions ?? 0)}`],
      ['on disk', bytes(diskBytes ?? 0)],
      ['open in', describeOpeners(openIn)],
      ...Object.entries(engine).map(([name, value]) => [name, count(value)] as const)
    ])
  )
  return ExitCode.Done
}

async function list(path: string, options: LookingOptions, context: Context): Promise<ExitCode> {
  const { output, signal } = context
  let unreadable = 0
  const leftOut = (): void => {
    unreadable++
  }
  await withReader(path, context, async (store) => {
    if (!output.json) await output.write(`${HEADINGS}\n`)
    for await (const record of select(store, options.principal, leftOut)) {
      signal.throwIfAborted()
      await output.result(describe(record, options), () => row(record, options))
    }
  })
  if (unreadable > 0) output.note(describeUnreadable(unreadable))
  return unreadable === 0 ? ExitCode.Done : ExitCode.ProblemsFound
}

async function* select(
  store: SessionStore,
  principal: string | undefined,
  leftOut: LeftOut
): AsyncGenerator<SessionRecord> {
  if (principal === undefined) {
    yield* store.records(undefined, leftOut)
    return
  }
  for await (const handles of store.handlesOf(principal)) {
    for (const handle of handles) {
      const record = await readIfReadable(store, handle)
      if (record === 'unreadable') leftOut(shortHandle(handle))
      else if (record?.principal === principal && record.expiresAt > Date.now()) yield record
    }
  }
}

async function readIfReadable(
  store: SessionStore,
  handle: string
): Promise<SessionRecord | null | 'unreadable'> {
  try {
    return await store.read(handle)
  } catch (error) {
    if (error instanceof RecordCorruptError || error instanceof StoreDamagedError) {
      return 'unreadable'
    }
    throw error
  }
}

const HEADINGS = `${'HANDLE'.padEnd(43)}  ${'LAST SEEN'.padEnd(20)}  ${'EXPIRES'.padEnd(20)}  ${'BYTES'.padStart(7)}  PRINCIPAL`

function row(record: SessionRecord, { data = false }: LookingOptions): string {
  const { handle, lastSeenAt, expiresAt, size, principal } = record
  const size_ = String(size).padStart(7)
  const who = principal === null ? '-' : printable(principal)
  const line = `${handle}  ${seconds(lastSeenAt)}  ${seconds(expiresAt)}  ${size_}  ${who}`
  return data ? `${line}  ${printable(inspectData(record))}` : line
}

async function show(
  path: string,
  handle: string,
  options: LookingOptions,
  context: Context
): Promise<ExitCode> {
  const record = await withReader(path, context, (store) => findSession(store, handle))
  await context.output.result(describe(record, options), () => details(record, options))
  return ExitCode.Done
}

function details(record: SessionRecord, { data = false }: LookingOptions): string {
  const { principal, expiry, metadata } = record
  const values = [...record.data].map(([key, text]): [string, string] => [
    `  ${printable(key)}`,
    data ? printable(inspect(decodeValue(text), ONE_LINE)) : `${Buffer.byteLength(text)} bytes`
  ])
  return fields([
    ['handle', record.handle],
    ['principal', principal === null ? '-' : printable(principal)],
    ['created', seconds(record.createdAt)],
    ['last seen', seconds(record.lastSeenAt)],
    ['expires', seconds(record.expiresAt)],
    ['expiry', expiry === null ? 'as registered' : expiry.kind],
    ['metadata', describeMetadata(metadata, data)],
    ['data', `${record.size} bytes${data ? '' : '; --data shows it'}`],
    ...values
  ])
}

const ONE_LINE = { breakLength: Number.POSITIVE_INFINITY, depth: null, maxArrayLength: null }

function describeMetadata(metadata: string | null, data: boolean): string {
  if (metadata === null) return '-'
  return data ? printable(inspect(decodeValue(metadata), ONE_LINE)) : 'redacted'
}

/** The session as JSON: as a line of an export, without values unless they were asked for. */
function describe(record: SessionRecord, { data = false }: LookingOptions): object {
  const { metadata, typedMetadata, data: plain, typed, ...rest } = JSON.parse(recordLine(record))
  const shown = { ...rest, bytes: record.size, keys: [...record.data.keys()] }
  return data ? { ...shown, metadata, typedMetadata, data: plain, typed } : shown
}

function inspectData(record: SessionRecord): string {
  const values = [...record.data].map(([key, text]) => [key, decodeValue(text)] as const)
  return inspect(new Map(values), ONE_LINE).replace(/^Map\(\d+\) /, '')
}

function seconds(time: number): string {
  return new Date(time).toISOString().replace(/\.\d+Z$/, 'Z')
}
