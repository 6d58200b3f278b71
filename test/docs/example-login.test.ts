import type { AddressInfo } from 'node:net'
import type { BrowserContext, Page } from 'playwright-core'
import { type Test, test } from 'tap'
import { createApp } from '../../examples/login/app.js'
import { html } from '../../examples/login/html.js'
import { Users } from '../../examples/login/users.js'
import { TestClock, temporaryFolder } from '../support/app.js'
import { launchBrowser } from '../support/browser.js'
import { startChild } from '../support/child.js'
import { needs } from '../support/needs.js'

const PASSWORD = 'correct horse battery staple'
const DAY = 86_400

/** The login example with two users, on a clock that a test moves. */
async function startSite(t: Test) {
  const users = new Users()
  await users.add('ann', PASSWORD)
  await users.add('<b>bob', PASSWORD)
  const clock = new TestClock()
  const app = await createApp(users, {
    path: await temporaryFolder(t),
    now: clock.now,
    reapInterval: false
  })
  t.teardown(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  return { app, clock, url: `http://localhost:${port}` }
}

async function logIn(
  page: Page,
  url: string,
  { name = 'ann', password = PASSWORD, remember = false } = {}
) {
  await page.goto(`${url}/login`)
  await page.getByLabel('Name').fill(name)
  await page.getByLabel('Password').fill(password)
  if (remember) await page.getByLabel('Remember me').check()
  await page.getByRole('button', { name: 'Log in' }).click()
}

/** What a page is about. */
async function titleOf(page: Page): Promise<string> {
  return (await page.locator('h1').textContent()) ?? ''
}

async function sessionCookie(context: BrowserContext) {
  return (await context.cookies()).find(({ name }) => name === 'id')
}

test('the login example in Chromium', needs('chromium'), async (t) => {
  const browser = await launchBrowser(t)
  const open = async (options: { userAgent?: string } = {}) => {
    const context = await browser.newContext(options)
    t.teardown(() => context.close())
    return { context, page: await context.newPage() }
  }

  await t.test('a login sets a cookie that scripts and other sites do not get', async (t) => {
    const { app, url } = await startSite(t)
    const { context, page } = await open()
    await page.goto(url)
    t.equal(page.url(), `${url}/login`)
    const before = await sessionCookie(context)
    await logIn(page, url)
    t.equal(await titleOf(page), 'Hello, ann')
    const cookie = await sessionCookie(context)
    t.match(cookie, {
      domain: 'localhost',
      path: '/',
      httpOnly: true,
      secure: true,
      sameSite: 'Lax'
    })
    t.equal(cookie?.expires, -1, 'it ends with the browser')
    t.not(cookie?.value, before?.value)
    t.equal(await page.evaluate('document.cookie'), '')
    await page.reload()
    t.match(await page.locator('main').textContent(), 'opened this page 2 times')
    t.equal(await app.sessions.count('ann'), 1)
  })

  await t.test('a wrong password and an unknown name get the same answer', async (t) => {
    const { app, url } = await startSite(t)
    const { page } = await open()
    for (const attempt of [{ password: 'wrong' }, { name: 'carol' }, { name: '__proto__' }]) {
      await logIn(page, url, attempt)
      t.equal(await titleOf(page), 'Log in')
      t.equal(await page.getByRole('alert').textContent(), 'Wrong name or password.')
    }
    t.equal(await app.sessions.count('ann'), 0)
  })

  await t.test('a name with markup in it is shown as text', async (t) => {
    const { url } = await startSite(t)
    const { page } = await open({ userAgent: '<script>Firefox</script> Linux' })
    await logIn(page, url, { name: '<b>bob' })
    t.equal(await titleOf(page), 'Hello, <b>bob')
    t.equal(await page.locator('b').count(), 0)
  })

  await t.test('a cookie planted before the login opens nothing after it (fixation)', async (t) => {
    const { url } = await startSite(t)
    const attacker = await open()
    await attacker.page.goto(`${url}/login`)
    const planted = await sessionCookie(attacker.context)
    const token = await attacker.page.locator('input[name=_csrf]').inputValue()
    const victim = await open()
    if (planted === undefined) throw new Error('the login page sets no cookie')
    await victim.context.addCookies([planted])
    await logIn(victim.page, url)
    t.equal(await titleOf(victim.page), 'Hello, ann')
    t.not((await sessionCookie(victim.context))?.value, planted.value)

    await attacker.page.goto(url)
    t.equal(await titleOf(attacker.page), 'Log in')
    // The secret behind the attacker's token did not move into the victim's session either.
    const forged = await victim.context.request.post(`${url}/logout-everywhere`, {
      form: { _csrf: token }
    })
    t.equal(forged.status(), 403)
    await victim.page.goto(url)
    t.equal(await titleOf(victim.page), 'Hello, ann')
  })

  await t.test('a form without its CSRF token is refused', async (t) => {
    const { url } = await startSite(t)
    const { context, page } = await open()
    await logIn(page, url)
    for (const form of [{}, { _csrf: '' }, { _csrf: 'forged-token' }]) {
      const response = await context.request.post(`${url}/logout`, { form })
      t.equal(response.status(), 403)
      t.match(await response.text(), 'This form is too old')
    }
    const stranger = await open()
    const login = await stranger.context.request.post(`${url}/login`, {
      form: { name: 'ann', password: PASSWORD }
    })
    t.equal(login.status(), 403)
    await page.goto(url)
    t.equal(await titleOf(page), 'Hello, ann')
  })

  await t.test('a second device is listed, and revoking it logs it out at once', async (t) => {
    const { app, url } = await startSite(t)
    const laptop = await open()
    await logIn(laptop.page, url)
    const phone = await open({ userAgent: 'Mozilla/5.0 (Android 15; Mobile) Firefox/140.0' })
    await logIn(phone.page, url)
    await laptop.page.getByRole('link', { name: 'Your devices' }).click()
    const items = laptop.page.locator('li')
    t.equal(await items.count(), 2)
    t.equal(await items.filter({ hasText: 'this device' }).count(), 1)
    const other = items.filter({ hasText: 'Firefox on Android' })
    await other.getByRole('button', { name: 'Log out' }).click()
    t.equal(laptop.page.url(), `${url}/devices`)
    t.equal(await items.count(), 1)
    await phone.page.goto(url)
    t.equal(await titleOf(phone.page), 'Log in')
    t.equal(await app.sessions.count('ann'), 1)
  })

  await t.test("nobody can revoke another user's device", async (t) => {
    const { app, url } = await startSite(t)
    const ann = await open()
    await logIn(ann.page, url)
    const [session] = await app.sessions.list('ann')
    const bob = await open()
    await logIn(bob.page, url, { name: '<b>bob' })
    await logIn((await open()).page, url, { name: '<b>bob' })
    await bob.page.goto(`${url}/devices`)
    await bob.page
      .locator('input[name=handle]')
      .evaluate((input, handle) => input.setAttribute('value', handle), session?.handle ?? '')
    await bob.page.locator('li').getByRole('button', { name: 'Log out' }).click()
    await bob.page.waitForURL(`${url}/devices`)
    t.equal(await app.sessions.count('ann'), 1)
  })

  await t.test(
    '"remember me" keeps the cookie for 30 days, and each visit renews them',
    async (t) => {
      const { clock, url } = await startSite(t)
      const { context, page } = await open()
      const begun = Date.now() / 1000
      await logIn(page, url, { remember: true })
      const cookie = await sessionCookie(context)
      const days = ((cookie?.expires ?? 0) - begun) / DAY
      t.ok(days > 29.9 && days < 30.1, `${days} days`)
      for (const seconds of [29 * DAY, 29 * DAY]) {
        clock.advance({ seconds })
        await page.goto(url)
        t.equal(await titleOf(page), 'Hello, ann')
      }
      clock.advance({ seconds: 30 * DAY })
      await page.goto(url)
      t.equal(await titleOf(page), 'Log in')
    }
  )

  await t.test('without it, twelve idle hours end the session on the server', async (t) => {
    const { clock, url } = await startSite(t)
    const { page } = await open()
    await logIn(page, url)
    clock.advance({ seconds: DAY / 2 - 1 })
    await page.goto(url)
    t.equal(await titleOf(page), 'Hello, ann')
    clock.advance({ seconds: DAY / 2 })
    await page.goto(url)
    t.equal(await titleOf(page), 'Log in')
  })

  await t.test(
    'after a logout the back button shows nothing, and the cookie is gone',
    async (t) => {
      const { context, page } = await open()
      const { app, url } = await startSite(t)
      await logIn(page, url)
      await page.getByRole('link', { name: 'Your devices' }).click()
      await page.getByRole('link', { name: 'Back' }).click()
      await page.getByRole('button', { name: 'Log out' }).click()
      t.equal(await titleOf(page), 'Log in')
      t.equal(await app.sessions.count('ann'), 0)
      for (const _ of [1, 2]) {
        await page.goBack()
        t.equal(await titleOf(page), 'Log in')
      }
      const cookie = await sessionCookie(context)
      const session = cookie === undefined ? null : await app.sessions.load(`id=${cookie.value}`)
      t.equal(session?.principal ?? null, null)
    }
  )

  await t.test('"log out everywhere" ends every device', async (t) => {
    const { app, url } = await startSite(t)
    const devices = [await open(), await open(), await open()]
    for (const { page } of devices) await logIn(page, url)
    t.equal(await app.sessions.count('ann'), 3)
    const [first] = devices
    await first?.page.goto(`${url}/devices`)
    await first?.page.getByRole('button', { name: 'Log out everywhere' }).click()
    for (const { page } of devices) {
      await page.goto(url)
      t.equal(await titleOf(page), 'Log in')
    }
    t.equal(await app.sessions.count('ann'), 0)
  })
})

test('the login example runs as a program', async (t) => {
  const env = { STORAGE: await temporaryFolder(t), PORT: '0' }
  const child = startChild(t, 'examples/login/server.ts', env)
  const [, port] = await child.line(/Open http:\/\/localhost:(\d+)/)
  const response = await fetch(`http://127.0.0.1:${port}/login`, {
    headers: { connection: 'close' }
  })
  t.equal(response.status, 200)
  t.equal(response.headers.get('cache-control'), 'no-store')
  t.match(await response.text(), 'Remember me')
  t.equal(await child.stop('SIGTERM'), 0)
})

test('the template escapes all that is put in', async (t) => {
  const { text } = html`<p title="${`"'`}">${'<&>'}${1}${[html`<i>${'<'}</i>`]}</p>`
  t.equal(text, '<p title="&#34;&#39;">&#60;&#38;&#62;1<i>&#60;</i></p>')
})
