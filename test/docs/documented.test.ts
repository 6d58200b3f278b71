import { access, readFile } from 'node:fs/promises'
import { join, posix } from 'node:path'
import { test } from 'tap'
import ts from 'typescript'
import { SessionManager } from '../../lib/http/session-manager.js'
import { Session } from '../../lib/session/session.js'
import { listPages, root } from '../support/snippets.js'

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
  const names = [...methods, ...options, ...attributes, ...codes]
  return names.filter((name) => name !== 'default' && name !== 'constructor')
}

/** What the entries of the package export, types included. */
async function exportedNames(): Promise<string[]> {
  const { exports } = JSON.parse(await read('package.json')) as { exports: Record<string, object> }
  const entries = Object.keys(exports).filter((name) => name !== './package.json')
  const names = entries.map(async (entry) => {
    const file = entry === '.' ? 'lib/index.ts' : `lib/${entry.slice(2)}.ts`
    return (await parse(file)).statements.flatMap((statement) => {
      const clause = ts.isExportDeclaration(statement) ? statement.exportClause : undefined
      if (clause === undefined || !ts.isNamedExports(clause)) return []
      return clause.elements.map(({ name }) => name.text)
    })
  })
  return (await Promise.all(names)).flat().filter((name) => name !== 'default')
}

test('docs/api.md has all that an application can use', async (t) => {
  const text = await read('docs/api.md')
  const names = [...(await usedNames()), ...(await exportedNames())]
  t.ok(names.length > 150)
  t.ok(names.includes('conformanceCases'), 'other entries are looked at too')
  t.same(
    names.filter((name) => !new RegExp(`\\b${name}\\b`).test(text)),
    []
  )
})

const globOf = (pattern: string): RegExp =>
  new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '[^/]*')}$`)

/** What a heading becomes in an address, as the common forges do it. */
const slugOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')

test('each link of a page that is published leads to something that is published', async (t) => {
  const { files } = JSON.parse(await read('package.json')) as { files: string[] }
  const isPublished = (path: string): boolean =>
    /^(README\.md|LICENSE|package\.json)$/.test(path) ||
    files.some((pattern) => globOf(pattern).test(path) || path.startsWith(`${pattern}/`))
  const pages = (await listPages()).filter(isPublished)
  let seen = 0
  for (const page of [...pages, 'CHANGELOG.md']) {
    const text = await read(page)
    for (const [, link = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(link)) continue
      seen++
      const [path = '', anchor] = link.split('#')
      const target = path === '' ? page : posix.join(posix.dirname(page), path)
      t.ok(isPublished(target), `${page}: ${link} is published`)
      if (anchor === undefined) {
        await t.resolves(access(join(root, target)), `${page}: ${link} exists`)
        continue
      }
      const linked = await read(target)
      const slugs = [...linked.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => slugOf(heading))
      t.ok(slugs.includes(anchor), `${page}: ${link} is a heading`)
    }
  }
  t.ok(seen > 50)
})
