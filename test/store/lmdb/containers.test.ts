import { spawnSync } from 'node:child_process'
import { test } from 'tap'
import { startChild } from '../../support/child.js'
import { temporaryFolder } from '../../support/lmdb.js'

/** Each process under it is the first one of a namespace of its own, as in a container. */
const CONTAINER = ['unshare', '--user', '--map-root-user', '--pid', '--fork', '--kill-child']

function canContain(): boolean {
  const [command = '', ...args] = [...CONTAINER, 'true']
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0
}

test('a container whose process has the number of another that has the database open is told so', {
  skip: !canContain() && 'no right to make a namespace of processes'
}, async (t) => {
  const env = { STORAGE: await temporaryFolder(t) }
  const server = 'test/fixtures/lmdb-server.ts'
  const first = startChild(t, server, env, [], CONTAINER)
  const [, url = ''] = await first.line(/listening on (.*)/)
  t.equal(await (await fetch(`${url}/pid`)).text(), '1')
  const second = startChild(t, server, env, [], CONTAINER)
  await second.line(/another container that has the same number \(1\).*share a pid namespace/)
  t.match(await second.ended(), 1)
  t.equal((await fetch(url)).status, 200)
  const beside = startChild(t, server, env)
  await beside.line(/listening on/)
  t.equal(await beside.stop('SIGTERM'), 0)
})
