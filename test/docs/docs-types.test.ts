import { writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { test } from 'tap'
import {
  listPages,
  readSnippets,
  type Snippet,
  snippetFolder,
  TypeChecker,
  toModule
} from '../support/snippets.js'

const isModule = ({ kind }: Snippet): boolean => kind !== 'shell' && kind !== 'gate'

test('the types in every code block of the documentation are right', async (t) => {
  const folder = await snippetFolder(t)
  const together: string[] = []
  const alone: string[] = []
  for (const page of await listPages()) {
    for (const snippet of (await readSnippets(page)).filter(isModule)) {
      const file = join(folder, `${basename(page)}-${snippet.line}.ts`)
      await writeFile(file, toModule(snippet))
      // What one block declares, the others would have too.
      if (snippet.code.includes('declare module')) alone.push(file)
      else together.push(file)
    }
  }
  t.ok(together.length > 20)
  t.ok(alone.length > 2)
  const types = new TypeChecker()
  t.same(types.errors(together), [])
  for (const file of alone) t.same(types.errors([file]), [], basename(file))
})
