import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'
import type { Measurement } from './measure.js'
import { isOurs, ratios } from './report.js'
import { type Spread, spread } from './statistics.js'

const WIDTH = 800
const LABELS = 260
const ROW = 30
const TOP = 64
const MARGIN = 16

/** Pages are light or dark, and a picture in one knows which; so it brings its own background. */
const STYLE = `
  .page { fill: #ffffff; color: #1f2328; --ours: #0969da; --other: #8c959f; --slow: #bc4c00 }
  text { font-family: system-ui, sans-serif }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; color: #e6edf3; --ours: #4493f8; --other: #6e7681; --slow: #f0883e }
  }`

/** Plot draws the marks; title, legend and background are around them. */
function page(title: string, legend: string, height: number, options: Plot.PlotOptions): string {
  const { document } = parseHTML('<html><body></body></html>')
  const plot = Plot.plot({
    ...options,
    width: WIDTH - 2 * MARGIN,
    height,
    style: { fontSize: '13px', background: 'none' },
    document
  })
  for (const style of plot.querySelectorAll('style')) style.remove()
  for (const [name, value] of [
    ['x', MARGIN],
    ['y', TOP],
    ['font-size', 13],
    ['text-anchor', 'middle'],
    ['fill', 'currentColor']
  ] as const) {
    plot.setAttribute(name, String(value))
  }
  const whole = TOP + height + MARGIN
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${whole}" role="img" aria-label="${title}">
<style>${STYLE}
</style>
<g class="page">
<rect width="${WIDTH}" height="${whole}" rx="6"/>
<text x="${MARGIN}" y="30" font-size="17" font-weight="600" fill="currentColor">${title}</text>
<text x="${MARGIN}" y="52" font-size="13" fill="currentColor">${legend}</text>
${plot.outerHTML}
</g>
</svg>
`
}

const colourOf = (peer: string): string => (isOurs(peer) ? 'var(--ours)' : 'var(--other)')

/** Requests per second of each peer in relation to bare Fastify. */
export function ratioChart(title: string, peers: Record<string, Measurement[]>): string {
  const rows = Object.keys(peers).map((peer) => ({ peer, ...spread(ratios(peers, peer)) }))
  const rounds = Math.max(...Object.values(peers).map(({ length }) => length))
  return page(
    title,
    `Requests per second, bare Fastify = 1. Bars: medians of ${rounds} rounds; thin lines: from the least to the most.`,
    rows.length * ROW + 50,
    {
      marginLeft: LABELS,
      marginRight: 60,
      x: { label: null, nice: true, grid: true },
      y: { label: null, domain: rows.map(({ peer }) => peer), tickSize: 0 },
      marks: [
        Plot.barX(rows, {
          x: 'median',
          y: 'peer',
          fill: ({ peer }) => colourOf(peer),
          insetTop: 3,
          insetBottom: 3
        }),
        Plot.ruleY(rows, {
          x1: 'least',
          x2: 'most',
          y: 'peer',
          stroke: 'currentColor',
          strokeWidth: 1.5
        }),
        Plot.text(rows, {
          x: 'most',
          y: 'peer',
          text: ({ median }: Spread) => median.toFixed(2),
          textAnchor: 'start',
          dx: 6,
          fill: 'currentColor'
        })
      ]
    }
  )
}

const PERCENTILES = [
  { name: 'p50', colour: 'var(--other)' },
  { name: 'p99', colour: 'var(--ours)' },
  { name: 'p999', colour: 'var(--slow)' }
] as const

/** What a request takes at a fixed rate, where rates say nothing. */
export function latencyChart(title: string, peers: Record<string, Measurement[]>): string {
  const rows = Object.entries(peers).flatMap(([peer, rounds]) =>
    PERCENTILES.map(({ name, colour }) => {
      return { peer, name, colour, ms: spread(rounds.map((round) => round[name])).median }
    })
  )
  const label = {
    x: 'ms',
    y: 'peer',
    text: ({ ms }: { ms: number }) => ms.toFixed(ms < 1 ? 2 : 1),
    fill: 'currentColor'
  } as const
  const legend = PERCENTILES.map(
    ({ name, colour }) =>
      `<tspan style="fill: ${colour}">●</tspan> ${name.replace('p999', 'p99.9')}`
  )
  return page(
    title,
    `Milliseconds for a request, on a logarithmic scale, medians of the rounds: ${legend.join('   ')}`,
    Object.keys(peers).length * (ROW + 8) + 50,
    {
      marginLeft: LABELS,
      marginRight: 60,
      x: {
        label: null,
        type: 'log',
        grid: true,
        inset: 16,
        ticks: 5,
        tickFormat: (ms: number) => `${ms}`
      },
      y: { label: null, domain: Object.keys(peers), tickSize: 0 },
      marks: [
        Plot.dot(rows, { x: 'ms', y: 'peer', r: 5, fill: 'colour' }),
        Plot.text(rows, {
          filter: ({ name }) => name !== 'p999',
          ...label,
          dy: -13
        }),
        // Beside its dot: those of p99 and p99.9 often stand close together.
        Plot.text(rows, {
          filter: ({ name }) => name === 'p999',
          ...label,
          dx: 9,
          textAnchor: 'start'
        })
      ],
      color: { type: 'identity' }
    }
  )
}

interface Size {
  readonly live: number
  readonly reap: Spread
  readonly scan: Spread
}

/** Time for 1,000 expired sessions against how many are alive, both in powers of ten. */
export function growthChart(sizes: readonly Size[]): string {
  const whole = (value: number): string => Math.round(value).toLocaleString('en-US')
  const rows = (['scan', 'reap'] as const).flatMap((name) =>
    sizes.map((size) => ({
      live: size.live,
      name,
      ms: size[name].median,
      colour: name === 'reap' ? 'var(--ours)' : 'var(--other)'
    }))
  )
  return page(
    'Deleting 1,000 expired sessions',
    'Milliseconds against sessions alive, medians: <tspan style="fill: var(--ours)">●</tspan> the reaper   <tspan style="fill: var(--other)">●</tspan> a full scan',
    300,
    {
      marginLeft: 60,
      marginRight: 60,
      x: {
        type: 'log',
        label: null,
        inset: 30,
        ticks: sizes.map(({ live }) => live),
        tickFormat: whole
      },
      y: {
        type: 'log',
        label: null,
        domain: [10, 10_000],
        grid: true,
        ticks: 4,
        tickFormat: whole
      },
      marks: [
        Plot.line(rows, { x: 'live', y: 'ms', z: 'name', stroke: 'colour', strokeWidth: 2 }),
        Plot.dot(rows, { x: 'live', y: 'ms', r: 4, fill: 'colour' }),
        Plot.text(rows, {
          x: 'live',
          y: 'ms',
          text: ({ ms }: { ms: number }) => whole(ms),
          dy: -12,
          fill: 'currentColor'
        })
      ],
      color: { type: 'identity' }
    }
  )
}

/** The picture of one workload: at a fixed rate all do the same, and differ in latency. */
export function workloadChart(
  name: string,
  title: string,
  peers: Record<string, Measurement[]>
): string {
  return name === 'steady' ? latencyChart(title, peers) : ratioChart(title, peers)
}
