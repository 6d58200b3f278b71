import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import ts from 'typescript'
import { SessionManager } from '../../lib/http/session-manager.js'
import * as exported from '../../lib/index.js'
import { Session } from '../../lib/session/session.js'
import { root } from '../support/snippets.js'

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

for (const page of ['docs/security.md', 'docs/api-map.md']) {
  test(`each test that ${page} names exists`, async (t) => {
    const named = [...(await read(page)).matchAll(/`(test\/[\w/-]+\.test\.ts)`: (.+?) \|$/gm)]
    t.ok(named.length > 20)
    for (const [, file = '', title = ''] of named) {
      const titles = titlesOf(await read(file))
      t.ok(
        titles.some((pattern) => pattern.test(title)),
        `${file}: ${title}`
      )
    }
  })
}

const parse = async (file: string): Promise<ts.SourceFile> =>
  ts.createSourceFile(file, await read(file), ts.ScriptTarget.Latest, true)

async function membersOf(file: string, name: string): Promise<string[]> {
  const found = (await parse(file)).statements.find(
    (statement): statement is ts.InterfaceDeclaration =>
      ts.isInterfaceDeclaration(statement) && statement.name.text === name
  )
  return (found?.members ?? []).map((member) => member.name?.getText() ?? '')
}

/** What an application writes down: values, methods, options, codes. */
async function usedNames(): Promise<string[]> {
  const methods = [Session, SessionManager].flatMap(({ prototype }) =>
    Object.getOwnPropertyNames(prototype)
  )
  const options = await membersOf('lib/http/options.ts', 'SledSessionOptions')
  const attributes = await membersOf('lib/http/cookie/attributes.ts', 'CookieOptions')
  const codes = (await read('lib/errors.ts')).match(/SLED_SESSION_[A-Z_]+/g) ?? []
  const names = [...Object.keys(exported), ...methods, ...options, ...attributes, ...codes]
  return names.filter((name) => name !== 'default' && name !== 'constructor')
}

async function typeNames(): Promise<string[]> {
  return (await parse('lib/index.ts')).statements.flatMap((statement) => {
    const clause = ts.isExportDeclaration(statement) ? statement.exportClause : undefined
    if (clause === undefined || !ts.isNamedExports(clause)) return []
    return clause.elements.map(({ name }) => name.text).filter((name) => name !== 'default')
  })
}

for (const [page, from] of [
  ['README.md', '## API'],
  ['docs/api.md', '# ']
] as const) {
  test(`${page} has all that an application can use`, async (t) => {
    const text = await read(page)
    const api = text.slice(text.indexOf(from))
    const names = await usedNames()
    if (page === 'docs/api.md') names.push(...(await typeNames()))
    t.ok(names.length > 100)
    t.same(
      names.filter((name) => !new RegExp(`\\b${name}\\b`).test(api)),
      []
    )
  })
}
