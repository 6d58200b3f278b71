import { test } from 'tap'
import { compareHandles, createSessionId, handleOf } from '../../../lib/record/handle.js'
import { sortedHandles } from '../../../lib/store/redis/sorted-handles.js'

test('handles come in their order, each once, however few are kept of a pass', async (t) => {
  const handles = Array.from({ length: 5000 }, () => handleOf(createSessionId()))
  const sorted = [...handles].sort(compareHandles)
  let passes = 0
  // As a server gives them: in no order, and some twice.
  async function* scan() {
    passes++
    for (let at = 0; at < handles.length; at += 100)
      yield handles.slice(Math.max(0, at - 5), at + 100)
  }
  const walk = async (after: string | null, mostKept?: number) => {
    passes = 0
    const walked: string[] = []
    for await (const part of sortedHandles(scan, after, mostKept)) walked.push(...part)
    return walked
  }
  t.same(await walk(null), sorted)
  t.equal(passes, 1)
  t.same(await walk(null, 1000), sorted)
  t.ok(passes >= 5 && passes <= 7, `${passes} passes`)
  t.same(await walk(sorted[3210] ?? '', 1000), sorted.slice(3211))
  t.ok(passes >= 2 && passes <= 3, `${passes} passes behind it`)
  t.same(await walk(null, 1), sorted, 'a part is kept whole')
  t.same(await walk(sorted.at(-1) ?? ''), [])
})
