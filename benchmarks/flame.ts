/** What `node --cpu-prof` writes. */
export interface Profile {
  readonly nodes: readonly ProfileNode[]
  readonly samples: readonly number[]
  /** In µs. */
  readonly timeDeltas: readonly number[]
}

interface ProfileNode {
  readonly id: number
  readonly callFrame: {
    readonly functionName: string
    readonly url: string
    readonly lineNumber: number
  }
  readonly children?: readonly number[]
}

/** A function and the package or file that it is in, as all tables and pictures call it. */
export function nameOf({ functionName, url, lineNumber }: ProfileNode['callFrame']): string {
  const file = url.replace(/^.*\/node_modules\//, '').replace(/^.*\/(dist|benchmarks)\//, '$1/')
  const where = file === '' ? '' : ` (${file}:${lineNumber + 1})`
  return `${functionName || 'anonymous'}${where}`
}

/** Calls that came the same way, as one. */
interface Frame {
  readonly name: string
  time: number
  readonly callees: Map<string, Frame>
}

/** The time under each way to a function; what is idle is left out. */
function merge({ nodes, samples, timeDeltas }: Profile): Frame {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const callers = new Map(nodes.flatMap(({ id, children = [] }) => children.map((to) => [to, id])))
  const all: Frame = { name: 'all', time: 0, callees: new Map() }
  for (const [at, sample] of samples.entries()) {
    const way: string[] = []
    for (let id: number | undefined = sample; id !== undefined; id = callers.get(id)) {
      const node = byId.get(id)
      if (node !== undefined) way.unshift(nameOf(node.callFrame))
    }
    if (way.includes('(idle)')) continue
    const time = timeDeltas[at] ?? 0
    let frame = all
    frame.time += time
    for (const name of way.slice(1)) {
      let callee = frame.callees.get(name)
      if (callee === undefined) {
        callee = { name, time: 0, callees: new Map() }
        frame.callees.set(name, callee)
      }
      callee.time += time
      frame = callee
    }
  }
  return all
}

const WIDTH = 1200
const ROW = 18
/** Narrower frames are left out. */
const LEAST = 2
const CHARACTER = 6.6

/** In both colour schemes, as the page around it may have either. */
const STYLE = `
  rect { fill: #ffffff } text { fill: #1f2328 }
  .ours { fill: #93c5fd } .binding { fill: #fdba74 } .node { fill: #e2e8f0 } .other { fill: #bbf7d0 }
  @media (prefers-color-scheme: dark) {
    rect { fill: #0d1117 } text { fill: #e6edf3 }
    .ours { fill: #1f4b85 } .binding { fill: #8a4316 } .node { fill: #30363d } .other { fill: #1d5a34 }
  }`

function kindOf(name: string): string {
  if (name.includes('(dist/')) return 'ours'
  if (name.includes('rocksdb-native')) return 'binding'
  if (name.includes('node:') || !name.includes('(')) return 'node'
  return 'other'
}

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

/** A flame graph, callers above what they call, as SVG that needs no script. */
export function flameGraph(title: string, profile: Profile): string {
  const all = merge(profile)
  const drawn: string[] = []
  let depth = 0
  const draw = (frame: Frame, from: number, level: number): void => {
    const width = (frame.time / all.time) * WIDTH
    if (width < LEAST) return
    depth = Math.max(depth, level + 1)
    const y = 34 + level * ROW
    const share = `${((100 * frame.time) / all.time).toFixed(1)} %`
    const room = Math.floor((width - 6) / CHARACTER)
    const label = room < 3 ? '' : escaped(frame.name.slice(0, room))
    drawn.push(
      `<g><title>${escaped(frame.name)}: ${share}</title><rect x="${from.toFixed(1)}" y="${y}" width="${(width - 0.5).toFixed(1)}" height="${ROW - 1}" class="${kindOf(frame.name)}"/><text x="${(from + 3).toFixed(1)}" y="${y + 12}">${label}</text></g>`
    )
    let at = from
    for (const callee of [...frame.callees.values()].sort((a, b) => b.time - a.time)) {
      draw(callee, at, level + 1)
      at += (callee.time / all.time) * WIDTH
    }
  }
  draw(all, 0, 0)
  const height = 34 + depth * ROW + 8
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="ui-monospace, monospace" font-size="11">
<style>${STYLE}
</style>
<rect width="${WIDTH}" height="${height}"/>
<text x="6" y="20" font-size="14" font-family="system-ui, sans-serif" font-weight="600">${escaped(title)}</text>
${drawn.join('\n')}
</svg>
`
}
