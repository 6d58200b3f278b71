import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import ts from 'typescript'
import * as exported from '../lib/index.js'
import { SessionManager } from '../lib/manager.js'
import { Session } from '../lib/session/session.js'
import { root } from './support/snippets.js'

const read = (name: string): Promise<string> => readFile(join(root, name), 'utf8')

/** The titles in a test file, as patterns: parts of a template may be anything. */
function titlesOf(source: string): RegExp[] {
  const titles: RegExp[] = []
  const visit = (node: ts.Node): void => {
    ts.forEachChild(node, visit)
    if (!ts.isCallExpression(node) || node.expression.getText() !== 'test') return
    const [title] = node.arguments
    if (title === undefined) return
    const parts = ts.isTemplateExpression(title)
      ? [title.head.text, ...title.templateSpans.map(({ literal }) => literal.text)]
      : [(title as ts.StringLiteralLike).text]
    titles.push(
      new RegExp(`^${parts.map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')).join('.+')}$`)
    )
  }
  visit(ts.createSourceFile('test.ts', source, ts.ScriptTarget.Latest, true))
  return titles
}

test('each test that docs/security.md names exists', async (t) => {
  const named = [
    ...(await read('docs/security.md')).matchAll(/`(test\/[\w-]+\.test\.ts)`: (.+?) \|$/gm)
  ]
  t.ok(named.length > 30)
  for (const [, file = '', title = ''] of named) {
    const titles = titlesOf(await read(file))
    t.ok(
      titles.some((pattern) => pattern.test(title)),
      `${file}: ${title}`
    )
  }
})

test('docs/api.md has every export, every method and every error code', async (t) => {
  const page = await read('docs/api.md')
  const index = ts.createSourceFile(
    'index.ts',
    await read('lib/index.ts'),
    ts.ScriptTarget.Latest,
    true
  )
  const names = new Set(Object.keys(exported).filter((name) => name !== 'default'))
  for (const statement of index.statements) {
    if (!ts.isExportDeclaration(statement) || statement.exportClause === undefined) continue
    if (!ts.isNamedExports(statement.exportClause)) continue
    for (const { name } of statement.exportClause.elements) names.add(name.text)
  }
  names.delete('default')
  for (const { prototype } of [Session, SessionManager]) {
    for (const name of Object.getOwnPropertyNames(prototype)) names.add(name)
  }
  names.delete('constructor')
  for (const [code] of (await read('lib/errors.ts')).matchAll(/SLED_SESSION_[A-Z_]+/g))
    names.add(code)
  t.ok(names.size > 80)
  for (const name of names) t.match(page, new RegExp(`\\b${name}\\b`), name)
})
