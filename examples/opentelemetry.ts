import { subscribe } from 'node:diagnostics_channel'
import { context, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import {
  BasicTracerProvider,
  ConsoleSpanExporter,
  SimpleSpanProcessor
} from '@opentelemetry/sdk-trace-base'
import Fastify from 'fastify'
import sledSession, { type SessionEvents } from 'fastify-sled-session'

const { PORT = '3000', STORAGE = './storage' } = process.env

// An application has this from its OpenTelemetry SDK, with an exporter to its collector.
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
const provider = new BasicTracerProvider({
  spanProcessors: [new SimpleSpanProcessor(new ConsoleSpanExporter())]
})
trace.setGlobalTracerProvider(provider)

// What happens to a session becomes an event of the span of the request that made it happen.
const PER_SESSION = ['created', 'loaded', 'saved', 'destroyed', 'regenerated', 'expired'] as const
for (const name of PER_SESSION) {
  subscribe(`fastify-sled-session:${name}`, (message) => {
    const { sessionName, session } = message as SessionEvents[typeof name]
    const attributes = { 'session.registration': sessionName, 'session.handle': session }
    trace.getActiveSpan()?.addEvent(`session.${name}`, attributes)
  })
}
subscribe('fastify-sled-session:rejected', (message) => {
  const { reason } = message as SessionEvents['rejected']
  trace.getActiveSpan()?.addEvent('session.rejected', { 'session.reason': reason })
})
subscribe('fastify-sled-session:store-error', (message) => {
  const { error } = message as SessionEvents['store-error']
  trace.getActiveSpan()?.recordException(error)
})

const fastify = Fastify()

// Before the sessions, so that the span is there when they are loaded.
const tracer = trace.getTracer('example')
fastify.addHook('onRequest', (request, reply, done) => {
  const span = tracer.startSpan(`${request.method} ${request.routeOptions.url}`)
  reply.raw.once('close', () => span.end())
  context.with(trace.setSpan(context.active(), span), done)
})
await fastify.register(sledSession, { path: STORAGE, secure: 'auto' })

fastify.get('/', async ({ session }) =>
  session.update<number>('counter', (counter = 0) => counter + 1)
)

fastify.addHook('onClose', () => provider.shutdown())
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => fastify.close())
}

const address = await fastify.listen({ host: '127.0.0.1', port: Number(PORT) })
console.log(`\nTry it:  curl -b /tmp/jar -c /tmp/jar ${address}\n`)
