import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Counter, Gauge, type Registry, register } from 'prom-client'
import { InvalidOptionError } from '../../errors.js'
import type { SessionEvents } from '../../events.js'
import { FASTIFY_OPTIONS } from '../../http/options.js'
import { SessionManager } from '../../http/session-manager.js'
import { type Option, option, readOptions, refuse, string } from '../../record/option.js'
import type { StoreStats } from '../../store/stats.js'

export interface SessionMetricsOptions {
  /** Where the metrics are registered. Default the global registry of `prom-client`. */
  registry?: Registry
  /** The registration of sessions that is measured, as its `sessionName`. Default `session`. */
  sessionName?: string
  /** What the names of the metrics begin with. Default `sled_session_`. */
  prefix?: string
}

const OPTIONS = {
  registry: option(registryOf, register),
  sessionName: option(string, 'session'),
  prefix: option(metricPrefix, 'sled_session_')
} satisfies Record<keyof SessionMetricsOptions, Option<unknown>>

function registryOf(value: unknown, name: string): Registry {
  const registry = value as Registry | null
  if (typeof registry?.registerMetric !== 'function')
    refuse(name, 'must be a Registry of prom-client')
  return registry
}

function metricPrefix(value: unknown, name: string): string {
  if (typeof value !== 'string' || !/^([A-Za-z_:][\w:]*)?$/.test(value)) {
    refuse(name, 'must be a name as Prometheus has them: letters, digits, "_" and ":"')
  }
  return value
}

async function plugin(fastify: FastifyInstance, given: SessionMetricsOptions): Promise<void> {
  const options = readOptions(OPTIONS, given, { foreign: FASTIFY_OPTIONS })
  const { registry, sessionName, prefix } = options
  const manager: unknown = Reflect.get(fastify, `${sessionName}s`)
  if (!(manager instanceof SessionManager)) {
    throw new InvalidOptionError('sessionName', `"${sessionName}" is not registered here`)
  }
  const names = collectStats(manager, registry, prefix)
  const counting = countEvents(sessionName, registry, prefix)
  fastify.addHook('onClose', async () => {
    counting.stop()
    for (const name of [...names, ...counting.names]) registry.removeSingleMetric(name)
  })
}

/** Events that are counted as they are, each one session's. */
const COUNTED: (keyof SessionEvents)[] = ['created', 'loaded', 'saved', 'destroyed']
COUNTED.push('regenerated', 'revoked', 'expired')

function countEvents(
  sessionName: string,
  registry: Registry,
  prefix: string
): { names: string[]; stop: () => void } {
  const names = ['events_total', 'rejected_total', 'store_errors_total'].map(
    (name) => prefix + name
  )
  const [eventsName = '', rejectedName = '', errorsName = ''] = names
  const registers = [registry]
  const happened = new Counter({
    name: eventsName,
    help: 'What happened to sessions',
    labelNames: ['event'],
    registers
  })
  const rejected = new Counter({
    name: rejectedName,
    help: 'Requests whose session cookie gave them no session',
    labelNames: ['reason'],
    registers
  })
  const failed = new Counter({
    name: errorsName,
    help: 'What the session store could not do',
    labelNames: ['operation'],
    registers
  })

  const stops: (() => void)[] = []
  const listen = <Name extends keyof SessionEvents>(
    name: Name,
    count: (message: SessionEvents[Name]) => void
  ): void => {
    const hear = (message: unknown): void => {
      if ((message as { sessionName?: string }).sessionName !== sessionName) return
      count(message as SessionEvents[Name])
    }
    subscribe(`fastify-sled-session:${name}`, hear)
    stops.push(() => unsubscribe(`fastify-sled-session:${name}`, hear))
  }
  for (const event of COUNTED) {
    // Shown from the start, so that a rate of the first one is right.
    happened.inc({ event }, 0)
    listen(event, () => happened.inc({ event }))
  }
  listen('rejected', ({ reason }) => rejected.inc({ reason }))
  listen('store-error', ({ operation }) => failed.inc({ operation }))
  return { names, stop: () => stops.forEach((stop) => void stop()) }
}

interface Reading {
  readonly name: string
  readonly help: string
  readonly read: (stats: StoreStats) => number | null | undefined
}

const READINGS: Reading[] = [
  { name: 'stored', help: 'Sessions that are stored, about', read: (stats) => stats.sessions },
  { name: 'disk_bytes', help: 'Bytes of its files', read: (stats) => stats.diskBytes },
  { name: 'cache_records', help: 'Sessions in memory', read: ({ cache }) => cache?.records },
  { name: 'cache_bytes', help: 'Memory that they take, about', read: ({ cache }) => cache?.bytes },
  { name: 'cache_hits_total', help: 'Sessions found in memory', read: ({ cache }) => cache?.hits },
  { name: 'cache_misses_total', help: 'Sessions not there', read: ({ cache }) => cache?.misses },
  { name: 'writes_total', help: 'Changes written', read: ({ writes }) => writes?.sessions },
  { name: 'write_groups_total', help: 'Batches of them', read: ({ writes }) => writes?.groups },
  { name: 'reaped_total', help: 'Expired sessions deleted', read: ({ reaper }) => reaper?.deleted },
  {
    name: 'quarantined_total',
    help: 'Corrupt records put aside',
    read: (stats) => stats.quarantined
  }
]

/** Metrics that are read from the store at each scrape; those that it cannot tell are left out. */
function collectStats(manager: SessionManager, registry: Registry, prefix: string): string[] {
  let reading: Promise<StoreStats | null> | null = null
  // All metrics of one scrape share one reading. A store that is down must not take the
  // application's other metrics with it.
  const stats = (): Promise<StoreStats | null> => {
    reading ??= manager
      .stats()
      .catch(() => null)
      .finally(() => {
        reading = null
      })
    return reading
  }
  const current = async (read: Reading['read']): Promise<number | null> => {
    const told = await stats()
    return told === null ? null : (read(told) ?? null)
  }
  for (const { name, help, read } of READINGS) {
    // By their names, as the convention has it, those that only rise are counters.
    const Metric = name.endsWith('_total') ? Counter : Gauge
    new Metric({
      name: prefix + name,
      help,
      registers: [registry],
      async collect() {
        const value = await current(read)
        this.remove()
        if (value !== null) this.inc(value)
      }
    })
  }
  return READINGS.map(({ name }) => prefix + name)
}

/**
 * Metrics for Prometheus, by the application's own `prom-client`. Register it after the sessions;
 * the application serves the registry as it does its other metrics.
 *
 * ```ts
 * await fastify.register(sledSession, { path: './storage' })
 * await fastify.register(sessionMetrics)
 * ```
 *
 * @throws {InvalidOptionError} `SLED_SESSION_INVALID_OPTION` for an option that is unknown or wrong,
 *   or if there are no sessions of that name
 */
export const sessionMetrics = fp(plugin, { fastify: '5.x', name: 'fastify-sled-session-metrics' })
