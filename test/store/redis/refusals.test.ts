import { testWith } from '../../support/needs.js'
import { begin, clientFor, createRedisApp, redisFor } from '../../support/redis-app.js'

const test = testWith('redis-server')

/** What servers answer in place of doing it, in their words. */
const REFUSALS = [
  "OOM command not allowed when used memory > 'maxmemory'.",
  'BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.',
  'LOADING Redis is loading the dataset in memory',
  "READONLY You can't write against a read only replica.",
  'CLUSTERDOWN The cluster is down',
  'MOVED 866 127.0.0.1:6399',
  'ASK 866 127.0.0.1:6399',
  'TRYAGAIN Multiple keys request during rehashing of slot',
  "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
  'NOREPLICAS Not enough good replicas to write.',
  'MISCONF Redis is configured to save RDB snapshots, but it is currently unable to persist.',
  'NOAUTH Authentication required.'
]

test('whatever Redis refuses is a 503 with its words in the log, and was not done', async (t) => {
  const real = await clientFor(t, await redisFor(t))
  let refusal: string | null = null
  const client = {
    isReady: true,
    sendCommand: async (args: string[]): Promise<unknown> => {
      if (refusal !== null) throw new Error(refusal)
      return real.sendCommand(args)
    }
  }
  const lines: string[] = []
  const logger = { stream: { write: (line: string) => void lines.push(line) } }
  const app = await createRedisApp(t, { client }, {}, { logger })
  /** The store answers until the handler runs. */
  const late = async (): Promise<void> => {
    refusal = waiting
  }
  let waiting: string | null = null
  app.get('/', async ({ session }) => ({ counter: session.get('counter') }))
  app.get('/set', async ({ session }) => {
    await late()
    session.set('counter', 2)
  })
  app.get('/update', async ({ session }) => {
    await late()
    await session.update('counter', (counter = 0) => counter + 1)
  })
  app.get('/login', async ({ session }) => {
    await late()
    await session.setPrincipal('ann')
  })
  app.get('/logout', async ({ session }) => {
    await late()
    await session.destroy()
  })
  const { id } = await begin(app, (session) => session.set('counter', 1))
  const cookies = { id }
  for (const words of REFUSALS) {
    for (const url of ['/set', '/update', '/login', '/logout']) {
      waiting = words
      lines.length = 0
      const response = await app.inject({ url, cookies })
      t.equal(response.statusCode, 503, `${url}: ${words.split(' ')[0]}`)
      t.match(response.json(), { code: 'SLED_SESSION_STORE_UNAVAILABLE' })
      t.same(response.cookies, [])
      t.ok(lines.some((line) => line.includes(JSON.stringify(words).slice(1, -1))))
      t.equal((await app.inject({ url: '/', cookies })).statusCode, 503)
      refusal = null
      t.same((await app.inject({ url: '/', cookies })).json(), { counter: 1 })
    }
  }
  t.equal(await app.sessions.count(), 1)
  t.same(await app.sessions.list('ann'), [])
})
