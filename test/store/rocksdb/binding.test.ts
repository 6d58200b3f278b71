import { test } from 'tap'
import { loadBinding } from '../../../lib/store/rocksdb/engine/binding.js'

const code = 'SLED_SESSION_BINDING_UNAVAILABLE'

test('a missing libatomic is named, with how to install it', async (t) => {
  const dlopen = new Error(
    'libatomic.so.1: cannot open shared object file: No such file or directory'
  )
  const loading = loadBinding(() =>
    Promise.reject(new Error("Cannot find addon '.'", { cause: dlopen }))
  )
  await t.rejects(loading, { code, message: /libatomic.*apt-get install libatomic1/s })
})

test('any other failure names the platform', async (t) => {
  const { platform, arch } = process
  const message = new RegExp(`no such module.*this is ${platform} ${arch}`)
  await t.rejects(
    loadBinding(() => Promise.reject(new Error('no such module'))),
    { code, message }
  )
  await t.rejects(
    loadBinding(() => Promise.reject('no error at all')),
    { code }
  )
})

test('on this machine it loads', async (t) => {
  t.type(await loadBinding(), 'function')
})
