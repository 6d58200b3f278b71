import type { IncomingMessage } from 'node:http'
import { type Test, test } from 'tap'
import { isWithin } from '../../lib/http/cookie/scope.js'
import type { SledSessionOptions } from '../../lib/index.js'
import { createApp } from '../support/app.js'

async function admin(t: Test, options: SledSessionOptions = {}) {
  const app = await createApp(t, { cookie: { path: '/admin' }, ...options })
  app.get('/admin', async ({ session }) => session.set('user', 'root'))
  app.get('/admin/page', async () => 'hello')
  app.get('/page', async () => 'hello')
  app.get('/set', async ({ session }) => session.set('theme', 'dark'))
  app.get('/login', async ({ session }) => session.setPrincipal('ann'))
  app.get('/logout', async ({ session }) => {
    await session.destroy()
    session.set('theme', 'dark')
  })
  return app
}

test('outside of the path of the cookie nothing begins by itself', async (t) => {
  const app = await admin(t, { saveUninitialized: true })
  const outside = await app.inject('/page')
  t.equal(outside.body, 'hello')
  t.notOk(outside.headers['set-cookie'])
  t.ok((await app.inject('/admin/page')).headers['set-cookie'])
  t.ok((await app.inject('/admin/page?next=/')).headers['set-cookie'])
  t.equal(await app.sessions.count(), 2)
})

test('to set something there is an error that says so', async (t) => {
  const app = await admin(t)
  const cookie = String((await app.inject('/admin')).headers['set-cookie']).split(';')[0] ?? ''
  for (const url of ['/set', '/login']) {
    const response = await app.inject(url)
    t.equal(response.statusCode, 500)
    t.match(response.json(), {
      code: 'SLED_SESSION_OUTSIDE_COOKIE_PATH',
      message: /"\/admin".*cookie\.path/
    })
    t.notOk(response.headers['set-cookie'], 'the cookie of the admin stays')
  }
  const logout = await app.inject({ url: '/logout', headers: { cookie } })
  t.equal(logout.json().code, 'SLED_SESSION_OUTSIDE_COOKIE_PATH')
  t.equal(await app.sessions.count(), 0)
})

test('what the browser asked for counts, not what a rewrite made of it', async (t) => {
  const rewriteUrl = ({ url }: IncomingMessage): string => String(url).replace('/app', '')
  const app = await createApp(t, { cookie: { path: '/app' } }, { rewriteUrl })
  app.get('/set', async ({ session }) => session.set('theme', 'dark'))
  t.ok((await app.inject('/app/set')).headers['set-cookie'])
  t.equal((await app.inject('/set')).statusCode, 500)
})

test('paths match as browsers match them', async (t) => {
  const cases: [path: string, url: string, within: boolean][] = [
    ['/', '/anything', true],
    ['/', '*', true],
    ['/admin', '/admin', true],
    ['/admin', '/admin/', true],
    ['/admin', '/admin/users', true],
    ['/admin', '/admin?a=/b', true],
    ['/admin', '/administrator', false],
    ['/admin', '/', false],
    ['/admin', '/Admin', false],
    ['/admin', '/x/admin', false],
    ['/admin', '/?x=/admin', false],
    ['/admin/', '/admin/users', true],
    ['/admin/', '/admin', false],
    ['/admin', 'http://host/admin', true]
  ]
  for (const [path, url, within] of cases) t.equal(isWithin(path, url), within, `${path} ${url}`)
})
