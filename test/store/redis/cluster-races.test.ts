import { randomInt, randomUUID } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { SessionRecord, SessionStore } from '../../../lib/index.js'
import { settles } from '../../../scripts/servers/until.js'
import { testWith } from '../../support/needs.js'
import { createRedisApp, redisStoreOfAnotherProcess } from '../../support/redis-app.js'
import { CLUSTER_CLIENTS, clusterFor } from '../../support/redis-cluster.js'

const test = testWith('redis-server')
const CONTEXT = { now: Date.now, log: { debug() {}, info() {}, warn() {}, error() {} } }
const USERS = ['ann', 'bob', 'cid']
const VISITORS = 12
/** Requests that a visitor has under way at a time. */
const TABS = 3
const REQUESTS = 120

/** What visitors do, some of it more often. */
const ACTIONS = [
  'login',
  'login',
  'nobody',
  'renew',
  'renew',
  'set',
  'set',
  'count',
  'end',
  'revoke'
]

function addRoutes(app: FastifyInstance): void {
  app.addHook('preHandler', async ({ session }) => {
    // What goes on with it under another id keeps it: no two sessions may have the same.
    if (session.get('line') === undefined) session.set('line', randomUUID())
  })
  const someone = () => USERS[randomInt(USERS.length)] as string
  app.get('/login', async ({ session }) => session.setPrincipal(someone(), { keep: true }))
  app.get('/ann', async ({ session }) => session.setPrincipal('ann'))
  app.get('/nobody', async ({ session }) => session.setPrincipal(null))
  app.get('/renew', async ({ session }) => session.regenerate())
  app.get('/set', async ({ session }) => session.set(`key ${randomInt(5)}`, randomUUID()))
  app.get('/count', async ({ session }) => {
    await session.update('counter', (counter = 0) => counter + 1)
  })
  app.get('/end', async ({ session }) => session.destroy())
  app.get('/revoke', async () => {
    await app.sessions.revokeAll(someone())
  })
}

/** A browser with several tabs, whose requests go to any of the servers. */
async function browse(apps: FastifyInstance[], statuses: Map<number, number>): Promise<void> {
  let cookies: { id?: string } = {}
  const tab = async (): Promise<void> => {
    for (let request = 0; request < REQUESTS / TABS; request++) {
      const app = apps[randomInt(apps.length)] as FastifyInstance
      const url = `/${ACTIONS[randomInt(ACTIONS.length)]}`
      const response = await app.inject({ url, cookies: cookies as Record<string, string> })
      const [cookie] = response.cookies
      if (cookie !== undefined) cookies = cookie.value === '' ? {} : { id: cookie.value }
      statuses.set(response.statusCode, 1 + (statuses.get(response.statusCode) ?? 0))
    }
  }
  await Promise.all(Array.from({ length: TABS }, tab))
}

async function all(store: SessionStore): Promise<SessionRecord[]> {
  const records: SessionRecord[] = []
  for await (const record of store.records()) records.push(record)
  return records
}

async function check(t: Test, store: SessionStore): Promise<void> {
  const records = await all(store)
  const listed = new Set<string>()
  for (const user of USERS) {
    for await (const handles of store.handlesOf(user)) {
      for (const handle of handles) listed.add(`${user} ${handle}`)
    }
  }
  const missed = records.filter(
    ({ principal, handle }) => principal !== null && !listed.has(`${principal} ${handle}`)
  )
  t.equal(missed.length, 0, `the lists have all of ${records.length} sessions`)
  const lines = records.map(({ data }) => data.get('line')).filter((line) => line !== undefined)
  t.equal(new Set(lines).size, lines.length, 'no session goes on under two ids')
}

/** Two servers on one cluster, through a client of either package, and a store beside them. */
async function twoServers(t: Test) {
  const cluster = await clusterFor(t)
  const apps: FastifyInstance[] = []
  for (const connect of Object.values(CLUSTER_CLIENTS)) {
    const app = await createRedisApp(t, { client: await connect(t, cluster) })
    addRoutes(app)
    apps.push(app)
  }
  const client = await CLUSTER_CLIENTS.redis?.(t, cluster)
  const [one, other] = apps
  if (client === undefined || one === undefined || other === undefined) throw new Error('no app')
  const store = await redisStoreOfAnotherProcess({ client })
  await store.open(CONTEXT)
  return { one, other, store }
}

test('two servers on a cluster that change the same sessions at once', async (t) => {
  const { one, other, store } = await twoServers(t)
  for (let round = 0; round < 5; round++) {
    const statuses = new Map<number, number>()
    await Promise.all(Array.from({ length: VISITORS }, () => browse([one, other], statuses)))
    t.same([...statuses.keys()], [200], 'every answer is 200')
    await check(t, store)
  }
  for (const user of USERS) await one.sessions.revokeAll(user)
  const left = (await all(store)).filter(({ principal }) => principal !== null)
  t.equal(left.length, 0, 'a logout everywhere misses nobody')
})

test('a logout everywhere while all sessions are being renewed lets none escape', async (t) => {
  const { one, other, store } = await twoServers(t)
  for (let round = 0; round < 10; round++) {
    let goesOn = true
    let renewed = 0
    const renew = async (): Promise<void> => {
      let id = (await one.inject('/ann')).cookies[0]?.value ?? ''
      while (goesOn) {
        const app = randomInt(2) === 0 ? one : other
        const response = await app.inject({ url: '/renew', cookies: { id } })
        id = response.cookies[0]?.value ?? id
        renewed++
      }
    }
    const visitors = Promise.all(Array.from({ length: VISITORS }, renew))
    await settles(() => renewed > 3 * VISITORS)
    await other.sessions.revokeAll('ann')
    goesOn = false
    await visitors
    const left = (await all(store)).filter(({ principal }) => principal === 'ann')
    t.equal(left.length, 0)
  }
})
