import { gainOfThree, markdown, median, number, type RedisResult } from './redis-tables.js'
import { OURS } from './report.js'

const ONE_PROCESS = 'one process, RocksDB'
const ONE_REDIS = 'one Redis'

/** What carries how much, and what `peers.ts` calls it. */
export const STORES = {
  [ONE_PROCESS]: 'fastify-sled-session',
  'one machine, LMDB': 'fastify-sled-session on LMDB',
  [ONE_REDIS]: 'fastify-sled-session on Redis'
}

const ENDS: Record<string, string> = {
  [ONE_PROCESS]: 'its one core',
  'one machine, LMDB': 'the cores of the machine',
  [ONE_REDIS]: 'the one core that Redis works on'
}

const A_SECOND = 1e6

/** For how many requests of the mix a second of a core's time is enough. */
function scaleTable({ stores, masters }: RedisResult): string {
  const one = A_SECOND / median(stores[ONE_REDIS], ({ redis }) => redis)
  const perCore = (name: string): string =>
    number(A_SECOND / median(stores[name], ({ node }) => node))
  const rows = Object.entries(ENDS).map(([name, end]) => {
    const most = { [ONE_PROCESS]: perCore(name), [ONE_REDIS]: number(one) }[name]
    return [name, perCore(name), end, most ?? '']
  })
  const three = number(one * gainOfThree(masters))
  rows.push(['a cluster of three masters', perCore(ONE_REDIS), 'the cores of the masters', three])
  const head = ['the mix', 'requests/s for a core of Node.js', 'what ends it', 'requests/s there']
  return markdown(head, rows)
}

const SESSIONS = 100_000_000
const LIFETIME_DAYS = 14
const DAY_SECONDS = 86_400
/** How often each comes, in seconds, taken over all of the day. */
const VISIT_EVERY = 600
/** What a master is to hold, in bytes: it forks for a replica, and moves in minutes. */
const MASTER_BYTES = 16e9
const SLOTS = 16_384
/** As many as an export brings into order in one walk. */
const EXPORTED_AT_ONCE = 1_000_000
const A_HOUR = 3600 * A_SECOND

/** On paper: a hundred million sessions of 400 bytes, each of a user. */
function hundredMillionTable(redis: RedisResult): string {
  const bytes = redis.bytes[`${OURS}, each of another user`] ?? Number.NaN
  const { count } = redis.walks
  const memory = SESSIONS * bytes
  const masters = Math.ceil(memory / MASTER_BYTES)
  const visits = SESSIONS / VISIT_EVERY
  const node = median(redis.http.mix?.[OURS], (round) => round.node)
  const server = median(redis.http.mix?.[OURS], (round) => round.redis)
  const expired = SESSIONS / (LIFETIME_DAYS * DAY_SECONDS)
  const passes = SESSIONS / EXPORTED_AT_ONCE
  const minutes = (each: number): string => number((SESSIONS * each) / A_SECOND / 60)
  const rows = [
    ['memory', `${number(SESSIONS)} × ${number(bytes)} bytes`, `${number(memory / 1e9)} GB`],
    ['with a replica of each', '× 2', `${number((2 * memory) / 1e9)} GB`],
    ['masters of 16 GB', `${number(memory / 1e9)} / 16, rounded up`, number(masters)],
    ['sessions in a slot', `${number(SESSIONS)} / ${number(SLOTS)}`, number(SESSIONS / SLOTS)],
    ['requests', `one each in ${VISIT_EVERY} s`, `${number(visits)}/s`],
    [
      'CPU of all masters',
      `${number(visits)} × ${server.toFixed(1)} µs`,
      `${((visits * server) / A_SECOND).toFixed(1)} cores`
    ],
    [
      'of each of them',
      `/ ${masters}`,
      `${number((100 * visits * server) / A_SECOND / masters)} % of a core`
    ],
    [
      'Node.js',
      `${number(visits)} × ${number(node)} µs`,
      `${number((visits * node) / A_SECOND)} cores`
    ],
    [
      'what expires',
      `${number(SESSIONS)} in ${LIFETIME_DAYS} days`,
      `${number(expired)}/s, ${number(expired / masters)}/s on each master`
    ],
    [
      '`count()`: CPU of Node.js, and of all masters',
      `× ${count.node.toFixed(1)} and ${count.redis.toFixed(1)} µs`,
      `${minutes(count.node)} and ${minutes(count.redis)} min`
    ],
    [
      'an export, at most: the same',
      `× ${number(passes)}, once for each ${number(EXPORTED_AT_ONCE)}`,
      `${number((passes * SESSIONS * count.node) / A_HOUR)} and ${number((passes * SESSIONS * count.redis) / A_HOUR)} h`
    ]
  ]
  return markdown(['', 'how it is reckoned', ''], rows, 2)
}

export const SCALE_TABLES: Record<string, (result: RedisResult) => string> = {
  scale: scaleTable,
  'scale-hundred-million': hundredMillionTable
}
