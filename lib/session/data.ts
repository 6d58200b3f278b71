/**
 * The type of an application's session data. Declare your keys by merging:
 *
 * ```ts
 * declare module 'fastify-sled-session' {
 *   interface SessionData { counter: number }
 * }
 * ```
 */
// biome-ignore lint/suspicious/noEmptyInterface: declaration merging needs an interface
export interface SessionData {}
