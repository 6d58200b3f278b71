/** Sessions of the fixtures in test/fixtures, one for each expiry, with every kind of value. */
export const FIXTURE_TIME = Date.UTC(2026, 0, 1)

export const EVERY_VALUE: Record<string, unknown> = {
  text: 'Zoë says "hi" 👋',
  number: -1.5e-7,
  yes: true,
  nothing: null,
  list: [1, [2, '3'], { four: 4 }],
  object: { a: { b: [] } },
  date: new Date(FIXTURE_TIME),
  map: new Map<unknown, unknown>([
    ['a', 1],
    [{ key: 2 }, new Set([3])]
  ]),
  set: new Set(['x', undefined]),
  bigint: 2n ** 80n,
  bytes: new Uint8Array([0, 127, 255]),
  buffer: Buffer.from('raw'),
  numbers: [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0],
  empty: '',
  '\ud800 lone': 'a key that UTF-8 cannot hold',
  '\0nul': 'a key that begins with NUL',
  prototype: { ['__proto__']: 1 }
}

/** So long that it is kept apart from its record. */
export const LARGE_VALUE = 'large'.repeat(600)
