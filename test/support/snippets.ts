import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Nodes } from 'mdast'
import { fromMarkdown } from 'mdast-util-from-markdown'
import type { Test } from 'tap'
import ts from 'typescript'

export const root = fileURLToPath(new URL('../../', import.meta.url))

/** How a code block is run; see CONTRIBUTING.md. */
export type SnippetKind = 'program' | 'app' | 'handler' | 'shell' | 'gate'

export interface Snippet {
  readonly page: string
  readonly line: number
  readonly kind: SnippetKind
  readonly code: string
}

const KINDS = new Map<string, SnippetKind>([
  ['ts', 'program'],
  ['ts app', 'app'],
  ['ts handler', 'handler'],
  ['sh', 'shell'],
  ['sh ci', 'gate']
])

/** README.md and all pages in docs. */
export async function listPages(): Promise<string[]> {
  const docs = (await readdir(join(root, 'docs'))).filter((name) => name.endsWith('.md'))
  return ['README.md', 'CONTRIBUTING.md', ...docs.map((name) => `docs/${name}`)]
}

/** The code blocks of a page that can be run. */
export async function readSnippets(page: string): Promise<Snippet[]> {
  const snippets: Snippet[] = []
  const visit = (node: Nodes): void => {
    if ('children' in node) for (const child of node.children) visit(child)
    if (node.type !== 'code') return
    const kind = KINDS.get([node.lang, node.meta].filter(Boolean).join(' '))
    const line = node.position?.start.line ?? 0
    if (kind !== undefined) snippets.push({ page, line, kind, code: node.value })
    else if (node.lang === 'ts' || node.lang === 'js') {
      throw new Error(`${page}:${line}: a code block that is not run`)
    }
  }
  visit(fromMarkdown(await readFile(join(root, page), 'utf8')))
  return snippets
}

const PARAMETERS = {
  app: 'fastify: FastifyInstance',
  handler:
    '{ fastify, request, reply }: { fastify: FastifyInstance; request: FastifyRequest; reply: FastifyReply }'
} as const

/**
 * A block as a module. A fragment becomes the body of its default export, with what can only
 * stand at the top of a file moved there.
 */
export function toModule({ kind, code }: Snippet): string {
  if (kind !== 'app' && kind !== 'handler') return `${code}\nexport {}\n`
  const source = ts.createSourceFile('snippet.ts', code, ts.ScriptTarget.Latest, true)
  const isTop = (statement: ts.Statement): boolean =>
    ts.isImportDeclaration(statement) || ts.isModuleDeclaration(statement)
  const text = (top: boolean): string =>
    source.statements
      .filter((statement) => isTop(statement) === top)
      .map((statement) => statement.getFullText())
      .join('')
  return `import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import 'fastify-sled-session'
${text(true)}
export default async function snippet(${PARAMETERS[kind]}) {
${text(false)}
}
`
}

const OPTIONS: ts.CompilerOptions = {
  module: ts.ModuleKind.NodeNext,
  target: ts.ScriptTarget.ES2023,
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  types: ['node']
}

/** Checks types of many files, of which most can be seen at once. */
export class TypeChecker {
  readonly #host = ts.createCompilerHost(OPTIONS)
  #program: ts.Program | undefined

  constructor() {
    const known = new Map<string, ts.SourceFile | undefined>()
    const { getSourceFile } = this.#host
    this.#host.getSourceFile = (name, ...rest) => {
      if (!known.has(name)) known.set(name, getSourceFile.call(this.#host, name, ...rest))
      return known.get(name)
    }
    this.#host.getCurrentDirectory = () => root
  }

  /** What is wrong in files that are one program, as a person would read it. */
  errors(files: string[]): string[] {
    this.#program = ts.createProgram(files, OPTIONS, this.#host, this.#program)
    return ts.getPreEmitDiagnostics(this.#program).map(({ messageText, file, start = 0 }) => {
      const place = file?.fileName.slice(file.fileName.lastIndexOf('/') + 1) ?? ''
      const line = file?.getLineAndCharacterOfPosition(start).line ?? 0
      return `${place}:${line + 1} ${ts.flattenDiagnosticMessageText(messageText, '\n')}`
    })
  }
}

/** A folder inside the project, so that its packages and the package itself are found by name. */
export async function snippetFolder(t: Test): Promise<string> {
  await mkdir(join(root, '.tap'), { recursive: true })
  const folder = await mkdtemp(join(root, '.tap', 'snippet-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  await writeFile(join(folder, 'tsconfig.json'), '{}')
  return folder
}
