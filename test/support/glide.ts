import type {
  ClientSideCache,
  GlideClient,
  GlideClientConfiguration,
  GlideClusterClient
} from '@valkey/valkey-glide'
import type { Test } from 'tap'

/** Its own limit for each command, in ms. By its default of 250 it would give up before the store. */
const REQUEST_TIMEOUT = 5000

/** A ready client of one server; closed after the test. */
export async function glideFor(
  t: Test,
  port: number,
  more: Partial<GlideClientConfiguration> = {}
): Promise<GlideClient> {
  const { GlideClient } = await loadGlide()
  const client = await GlideClient.createClient({ ...settings([port]), ...more })
  t.teardown(() => client.close())
  return client
}

/** A ready client of a cluster; closed after the test. */
export async function glideClusterFor(t: Test, ports: number[]): Promise<GlideClusterClient> {
  const { GlideClusterClient } = await loadGlide()
  const client = await GlideClusterClient.createClient(settings(ports))
  t.teardown(() => client.close())
  return client
}

/** A cache that a client may be given. */
export async function glideCache(): Promise<ClientSideCache> {
  const { ClientSideCache } = await loadGlide()
  return new ClientSideCache({ maxCacheKb: 1024, entryTtlMs: 60_000 })
}

/** Not at once with what imports this: there is none for Windows. */
async function loadGlide() {
  const glide = await import('@valkey/valkey-glide')
  glide.Logger.setLoggerConfig('off')
  return glide
}

function settings(ports: number[]) {
  return {
    addresses: ports.map((port) => ({ host: '127.0.0.1', port })),
    requestTimeout: REQUEST_TIMEOUT
  }
}
