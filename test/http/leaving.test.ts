import { request as httpRequest } from 'node:http'
import { test } from 'tap'
import type { SessionRecord } from '../../lib/record/record.js'
import { MemoryStore } from '../../lib/store/memory/memory-store.js'
import type { SessionStore } from '../../lib/store/session-store.js'
import { addCounter, cookieOf, createApp, listen } from '../support/app.js'
import { Gate } from '../support/gate.js'
import { until } from '../support/until.js'

/** Counts who holds its records. */
class CountingStore extends MemoryStore {
  held = 0

  override loadByHandle(handle: string): SessionRecord | null {
    const record = super.loadByHandle(handle)
    if (record !== null) this.held++
    return record
  }

  override async save(...given: Parameters<MemoryStore['save']>): Promise<void> {
    if ((await this.read(given[0].handle)) === null) this.held++
    await super.save(...given)
  }

  override release(): void {
    this.held--
  }
}

test('a visitor who leaves while the store is asked leaves nothing held', async (t) => {
  const store = new CountingStore()
  const app = await createApp(t, { store })
  addCounter(app)
  app.get('/touches', async (request) => {
    request.session.set('counter', 70)
    return 'nobody hears this'
  })
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  await until(() => store.held === 0)

  const answer = new Gate()
  const slow: SessionStore = store
  const { load } = store
  slow.load = async (id) => {
    slow.load = load
    const record = load.call(store, id)
    await answer.opened
    return record
  }
  const client = httpRequest(`${url}/touches`, { headers: { cookie } })
  client.on('error', () => {})
  const left = new Gate()
  app.server.once('request', (_request, response) => response.once('close', left.open))
  client.end()
  await until(() => store.held === 1)
  client.destroy()
  await left.opened
  answer.open()
  const handle = (await app.sessions.load(cookie))?.handle ?? ''
  await until(async () => (await app.sessions.get(handle))?.get('counter') === 70)
  await until(() => store.held === 0)
  t.pass('and what its handler changed is stored')
})

test('a request that never asks for its session gives it back when it ends', async (t) => {
  const store = new CountingStore()
  const app = await createApp(t, { store })
  addCounter(app)
  let held = 0
  app.get('/untouched', async () => {
    held = store.held
    return 'hello'
  })
  const url = await listen(app)
  const cookie = cookieOf(await fetch(url)) ?? ''
  await until(() => store.held === 0)
  await fetch(`${url}/untouched`, { headers: { cookie } })
  t.equal(held, 1, 'held while it runs')
  await until(() => store.held === 0)
})
