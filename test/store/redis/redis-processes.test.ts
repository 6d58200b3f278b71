import { type Test, test } from 'tap'
import { cookieOf } from '../../support/app.js'
import { startChild } from '../../support/child.js'
import { needs } from '../../support/needs.js'
import { redisFor } from '../../support/redis-app.js'
import { clusterFor } from '../../support/redis-cluster.js'

const UPDATES = 1000
const AT_ONCE = 20

/** Where the sessions are, and the clients of the two servers. */
const PLACES: Record<string, { start: (t: Test) => Promise<string>; clients: string[] }> = {
  'one Redis': {
    start: async (t) => (await redisFor(t)).url,
    clients: ['redis', 'ioredis']
  },
  'a cluster': {
    start: async (t) => (await clusterFor(t)).urls[0] ?? '',
    clients: ['redis cluster', 'ioredis cluster']
  }
}

/** Two servers, each with another client; and how to ask them. */
async function twoServers(t: Test, where: string) {
  const { start, clients } = PLACES[where] as (typeof PLACES)[string]
  const redis = await start(t)
  const urls: string[] = []
  for (const CLIENT of clients) {
    const child = startChild(t, 'test/fixtures/redis-server.ts', { REDIS_URL: redis, CLIENT })
    const [, url = ''] = await child.line(/listening on (.*)/)
    urls.push(url)
  }
  const [one = '', other = ''] = urls
  const get = async (url: string, cookie = '') => {
    const response = await fetch(url, { headers: { cookie } })
    const text = await response.text()
    t.ok(response.ok, `${response.status} ${text}`)
    return { set: cookieOf(response) ?? '', body: text === '' ? null : JSON.parse(text) }
  }
  return { one, other, get }
}

for (const where of Object.keys(PLACES)) {
  test(`two processes on ${where} share sessions as one would`, needs('redis-server'), (t) =>
    shareSessions(t, where)
  )
}

async function shareSessions(t: Test, where: string): Promise<void> {
  const { one, other, get } = await twoServers(t, where)

  await t.test(`of ${UPDATES} parallel updates none is lost`, async (t) => {
    const { set: cookie } = await get(`${one}/count`)
    let left = UPDATES - 1
    const visit = async (url: string): Promise<void> => {
      while (left-- > 0) await get(`${url}/count`, cookie)
    }
    await Promise.all(Array.from({ length: AT_ONCE }, (_, at) => visit(at % 2 ? one : other)))
    for (const url of [one, other]) {
      t.equal((await get(`${url}/read`, cookie)).body.counter, UPDATES)
    }
  })

  await t.test('changes of different keys merge', async (t) => {
    const { set: cookie } = await get(`${one}/set/first/1`)
    const keys = Array.from({ length: 100 }, (_, at) => `key${at}`)
    await Promise.all(keys.map((key, at) => get(`${at % 2 ? one : other}/set/${key}/x`, cookie)))
    const { body } = await get(`${other}/read`, cookie)
    t.same(Object.keys(body).sort(), ['first', 'principal', ...keys].sort())
  })

  await t.test('a revocation is seen at once', async (t) => {
    const { set: cookie } = await get(`${one}/login/ann`)
    t.equal((await get(`${other}/list/ann`)).body.sessions, 1)
    t.equal((await get(`${other}/read`, cookie)).body.principal, 'ann')
    t.equal((await get(`${other}/revoke/ann`)).body.revoked, 1)
    t.equal((await get(`${one}/read`, cookie)).body.principal, null)
    t.equal((await get(`${one}/list/ann`)).body.sessions, 0)
  })

  for (const end of ['regenerate', 'destroy', 'login/bob']) {
    await t.test(`after ${end} elsewhere the old id is dead, and a late save drops`, async (t) => {
      const { set: cookie } = await get(`${one}/set/first/1`)
      const held = get(`${other}/held`, cookie)
      await fetch(`${other}/running`)
      const { set: fresh } = await get(`${one}/${end}`, cookie)
      await get(`${other}/resume`)
      t.equal((await held).set, '')
      t.same((await get(`${one}/read`, cookie)).body, { principal: null })
      t.same((await get(`${other}/read`, cookie)).body, { principal: null })
      const { body } = await get(`${other}/read`, fresh)
      t.equal(body.first, end === 'destroy' ? undefined : '1')
      t.equal(body.late, undefined)
      const log: string[] = (await get(`${other}/log`)).body
      t.ok(log.some((line) => /changes were dropped/.test(line)))
    })
  }
}
