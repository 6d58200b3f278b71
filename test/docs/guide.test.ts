import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { type Test, test } from 'tap'
import { freePort } from '../../scripts/servers/ports.js'
import { cookieOf } from '../support/app.js'
import { startChild } from '../support/child.js'
import { readSnippets, root } from '../support/snippets.js'

/** Starts the guide's last program, as a reader would, and resolves to its URL. */
async function startGuide(t: Test): Promise<string> {
  const programs = (await readSnippets('docs/guide.md')).filter(({ kind }) => kind === 'program')
  const code = programs.at(-1)?.code ?? ''
  await mkdir(join(root, '.tap'), { recursive: true })
  const folder = await mkdtemp(join(root, '.tap', 'guide-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const port = await freePort()
  const file = join(folder, 'app.ts')
  const own = code.replace('3000', String(port)).replace('./storage', join(folder, 'storage'))
  await writeFile(file, `${own}\nconsole.log('it listens')\n`)
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
  await startChild(t, relative(root, file), {}).line(/^it listens$/)
  return `http://localhost:${port}`
}

/** A browser as far as forms go. */
function browser(url: string, agent: string) {
  let cookie = ''
  const ask = async (path: string, fields?: Record<string, string>) => {
    const response = await fetch(url + path, {
      redirect: 'manual',
      headers: { cookie, 'user-agent': agent, connection: 'close' },
      ...(fields === undefined ? {} : { method: 'POST', body: new URLSearchParams(fields) })
    })
    cookie = cookieOf(response) ?? cookie
    return {
      status: response.status,
      to: response.headers.get('location'),
      text: await response.text()
    }
  }
  const token = async (path: string) =>
    /name="_csrf" value="([^"]+)"/.exec((await ask(path)).text)?.[1] ?? ''
  const logIn = async (password = 'correct horse battery staple') =>
    ask('/login', { _csrf: await token('/login'), name: 'ann', password })
  return { ask, token, logIn }
}

test("the guide's login: devices, revocation, logout here and everywhere", async (t) => {
  const url = await startGuide(t)
  const laptop = browser(url, 'the laptop')
  const phone = browser(url, 'the <b>phone</b>')
  t.match(await laptop.ask('/'), { status: 303, to: '/login' })
  t.equal((await laptop.logIn('wrong')).status, 401)
  t.equal((await laptop.ask('/login', { name: 'ann', password: 'x' })).status, 403)
  t.match(await laptop.logIn(), { status: 303, to: '/' })
  await phone.logIn()

  const { text } = await laptop.ask('/')
  t.match(text, 'Devices of ann')
  t.match(text, 'the laptop')
  t.match(text, 'the &#60;b&#62;phone')
  const [, handle = ''] = /name="handle" value="([^"]+)"/.exec(text) ?? []
  t.equal((await laptop.ask('/revoke', { handle })).status, 403, 'not without a token')
  t.equal((await phone.ask('/')).status, 200)
  await laptop.ask('/revoke', { handle, _csrf: await laptop.token('/') })
  t.equal((await phone.ask('/')).status, 303)

  await phone.logIn()
  await phone.ask('/logout', { _csrf: await phone.token('/') })
  t.equal((await phone.ask('/')).status, 303)
  t.equal((await laptop.ask('/')).status, 200)
  await phone.logIn()
  await phone.ask('/logout-everywhere', { _csrf: await phone.token('/') })
  for (const { ask } of [phone, laptop]) t.equal((await ask('/')).status, 303)
})
