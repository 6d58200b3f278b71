import type { Spread } from './statistics.js'

interface Size {
  readonly live: number
  readonly reap: Spread
  readonly scan: Spread
}

const WIDTH = 760
const HEIGHT = 320
const LEFT = 80
const RIGHT = 690
const TOP = 50
const BOTTOM = 270

/** Time for 1,000 expired sessions against how many are alive, both in powers of ten. */
export function growthChart(sizes: readonly Size[]): string {
  const decades = [1, 10, 100, 1000, 10_000, 100_000]
  const lives = sizes.map(({ live }) => Math.log10(live))
  const [least = 0, most = 1] = [lives.at(0), lives.at(-1)]
  const x = (live: number): number =>
    LEFT + 30 + ((Math.log10(live) - least) / (most - least)) * (RIGHT - LEFT - 90)
  const y = (ms: number): number => BOTTOM - (Math.log10(ms) / 5) * (BOTTOM - TOP)
  const grid = decades.map(
    (ms) =>
      `<path d="M${LEFT} ${y(ms)}H${RIGHT}" stroke="#e2e8f0"/><text x="${LEFT - 8}" y="${y(ms) + 4}" text-anchor="end">${ms.toLocaleString('en-US')} ms</text>`
  )
  const columns = sizes.map(
    ({ live }) =>
      `<text x="${x(live)}" y="${BOTTOM + 22}" text-anchor="middle">${live.toLocaleString('en-US')} alive</text>`
  )
  const line = (name: 'reap' | 'scan', label: string, colour: string): string => {
    const points = sizes.map((size) => ({ x: x(size.live), ms: size[name].median }))
    const dots = points.map(
      ({ x: at, ms }) =>
        `<circle cx="${at}" cy="${y(ms)}" r="4" fill="${colour}"/><text x="${at}" y="${y(ms) - 9}" text-anchor="middle" fill="${colour}">${Math.round(ms).toLocaleString('en-US')}</text>`
    )
    const last = points.at(-1)
    const path = points.map(({ x: at, ms }) => `${at} ${y(ms)}`).join('L')
    return [
      `<path d="M${path}" fill="none" stroke="${colour}" stroke-width="2"/>`,
      ...dots,
      `<text x="${(last?.x ?? 0) + 12}" y="${y(last?.ms ?? 1) + 4}" fill="${colour}">${label}</text>`
    ].join('\n')
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="system-ui, sans-serif" font-size="13">
<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>
<text x="12" y="24" font-size="15" font-weight="600">Deleting 1,000 expired sessions</text>
${[...grid, ...columns].join('\n')}
${line('scan', 'full scan', '#64748b')}
${line('reap', 'reaper', '#2563eb')}
</svg>
`
}
