import { request as httpRequest } from 'node:http'
import { test } from 'tap'
import { MemoryStore } from '../../lib/store/memory/memory-store.js'
import type { SessionStore } from '../../lib/store/session-store.js'
import { until } from '../../scripts/servers/until.js'
import { addCounter, cookieOf, createApp, listen } from '../support/app.js'
import { Gate } from '../support/gate.js'

test('of a visitor who leaves while the store is asked, what the handler changes is stored', async (t) => {
  const store: SessionStore = new MemoryStore()
  const app = await createApp(t, { store })
  addCounter(app)
  app.get('/touches', async (request) => {
    request.session.set('counter', 70)
    return 'nobody hears this'
  })
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''

  const asked = new Gate()
  const answer = new Gate()
  const { load } = store
  store.load = async (id) => {
    store.load = load
    asked.open()
    await answer.opened
    return load.call(store, id)
  }
  const client = httpRequest(`${url}/touches`, { headers: { cookie } })
  client.on('error', () => {})
  const left = new Gate()
  app.server.once('request', (_request, response) => response.once('close', left.open))
  client.end()
  await asked.opened
  client.destroy()
  await left.opened
  answer.open()
  const handle = (await app.sessions.load(cookie))?.handle ?? ''
  await until(async () => (await app.sessions.get(handle))?.get('counter') === 70)
  t.pass('and the next request finds it')
})
