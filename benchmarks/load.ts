/** What makes the load of a measurement. Each table says so at its top: it has a part in the rates. */
export const LOADS = {
  autocannon: 'Load: autocannon, 50 connections.',
  closed: "Load: the benchmarks' own client, 50 connections.",
  closedEach: "Load: the benchmarks' own client, 50 connections for each worker.",
  closedMix: "Load: autocannon, 50 connections; the mix by the benchmarks' own client, as many.",
  open: "Load: the benchmarks' own client, at a fixed rate.",
  probe: 'Load: `fetch`, 200 requests a second, each on a connection of its own.'
}

export type Load = keyof typeof LOADS

/** A table with the line above it. */
export function underLoad(load: Load, table: string): string {
  return `${LOADS[load]}\n\n${table}`
}
