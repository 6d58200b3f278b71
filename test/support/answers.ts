import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/** What came of a request: the answer, and which parts of the application ran for it. */
export interface Outcome {
  status: number | 'cut off'
  body: string
  headers: Record<string, unknown>
  trailers: Record<string, unknown>
  trace: string[]
}

/** Notes that something ran. */
type Note = (what: string) => void
/** A part of an application that answers `GET /` in some way; `use` changes the session, where there is one. */
type Answering = (app: FastifyInstance, use: (request: FastifyRequest) => void, note: Note) => void

const SECRET = { secret: 42 }
const UNSENDABLE = '/你'

function guarded(
  hook: 'onRequest' | 'preParsing' | 'preValidation' | 'preHandler',
  guard: (request: FastifyRequest, reply: FastifyReply, use: (r: FastifyRequest) => void) => unknown
): Answering {
  return (app, use, note) => {
    app.addHook(hook as 'onRequest', async (request, reply) => guard(request, reply, use))
    app.addHook('preHandler', async () => note('a later hook'))
    app.get('/', async () => {
      note('the handler')
      return SECRET
    })
  }
}

const forbid = (
  request: FastifyRequest,
  reply: FastifyReply,
  use: (r: FastifyRequest) => void
): void => {
  use(request)
  reply.code(403).send({ error: 'forbidden' })
}

function handled(
  handler: (request: FastifyRequest, reply: FastifyReply, note: Note) => unknown
): Answering {
  return (app, use, note) => {
    app.get('/', (request, reply) => {
      use(request)
      return handler(request, reply, note)
    })
  }
}

/** Ways to answer, right and wrong, that must come to the same with the plugin as without it. */
export const ANSWERS: Record<string, Answering> = {
  'a value': handled(async () => ({ ok: true })),
  'a value that is not from a promise': handled(() => ({ ok: true })),
  'send with return': handled(async (_request, reply) => reply.send({ ok: true })),
  'send without return': handled(async (_request, reply) => void reply.send({ ok: true })),
  'send in a callback': handled((_request, reply) => void setImmediate(() => reply.send('ok'))),
  'send without return, and work behind it': handled(async (_request, reply, note) => {
    reply.send({ ok: true })
    note(`sent: ${reply.sent}`)
    await new Promise((resolve) => setImmediate(resolve))
    note(`still sent: ${reply.sent}`)
  }),
  'send with await': handled(async (_request, reply, note) => {
    await reply.send({ ok: true })
    note(`sent: ${reply.sent}`)
  }),
  'send of nothing': handled(async (_request, reply) => void reply.code(204).send()),
  'send twice': handled(async (_request, reply) => {
    reply.send({ first: true })
    reply.code(201).type('text/html').header('x-second', '2').send({ second: true })
  }),
  'send, then return a value': handled(async (_request, reply) => {
    reply.send({ first: true })
    return SECRET
  }),
  'send, then throw': handled((_request, reply) => {
    reply.send({ ok: true })
    throw new Error('too late')
  }),
  'send, then throw in a promise': handled(async (_request, reply) => {
    reply.send({ ok: true })
    throw new Error('too late')
  }),
  'a throw': handled(async () => {
    throw Object.assign(new Error('no tea'), { statusCode: 418 })
  }),
  'a redirect': handled(async (_request, reply) => reply.redirect('/next')),
  'a redirect that cannot be sent': handled(async (_request, reply) => reply.redirect(UNSENDABLE)),
  'a redirect that cannot be sent, without return': handled(
    async (_request, reply) => void reply.redirect(UNSENDABLE)
  ),
  'a redirect that cannot be sent, not from a promise': handled(
    (_request, reply) => void reply.redirect(UNSENDABLE)
  ),
  'a header that cannot be sent, on a string': handled(async (_request, reply) => {
    reply.header('x-name', '你')
    return 'text'
  }),
  'a bad status code': handled(async (_request, reply) => reply.code(1000).send('text')),
  'a bad status code past Fastify': handled(async (_request, reply) => {
    reply.raw.statusCode = 1000
    return 'text'
  }),
  'a payload of a bad type': handled(async (_request, reply) =>
    reply.serializer(() => 42 as unknown as string).send({ ok: true })
  ),
  'a serializer that throws': handled(async (_request, reply) =>
    reply
      .serializer(() => {
        throw new Error('cannot be serialized')
      })
      .send({ ok: true })
  ),
  'a body that was used': handled(async () => {
    const response = new Response('text')
    await response.text()
    return response
  }),
  'a stream that is locked': handled(async (_request, reply) => {
    const stream = new Blob(['text']).stream()
    stream.getReader()
    return reply.send(stream)
  }),
  'a stream': handled(async (_request, reply) => reply.send(Readable.from(['one ', 'two']))),
  'a stream that is returned': handled(async () => Readable.from(['one ', 'two'])),
  'a stream and a return of the reply': handled(async (_request, reply) => {
    reply.send(Readable.from(['one ', 'two']))
    return reply
  }),
  'a web stream': handled(async (_request, reply) => reply.send(new Blob(['text']).stream())),
  'a stream with a header that cannot be sent': handled(async (_request, reply) =>
    reply.header('x-name', '你').send(Readable.from(['text']))
  ),
  'a stream that fails': handled(async (_request, reply) => {
    const stream = new Readable({ read: () => stream.destroy(new Error('no such file')) })
    return reply.send(stream)
  }),
  'a trailer': handled(async (_request, reply) =>
    reply.trailer('etag', async () => 'abc').send('text')
  ),
  'a bad trailer': handled(async (_request, reply) =>
    reply.trailer('content-length', async () => '1').send('text')
  ),
  'a trailer that throws': handled(async (_request, reply) =>
    reply
      .trailer('etag', () => {
        throw new Error('no trailer')
      })
      .send('text')
  ),
  'nothing found': (app, use) => {
    app.setNotFoundHandler(async (request, reply) => {
      use(request)
      reply.code(404).send({ nothing: 'here' })
    })
  },
  'nothing found, by the handler': (app, use, note) => {
    app.setNotFoundHandler(async (_request, reply) => {
      note('not found')
      reply.code(404).send({ nothing: 'here' })
    })
    app.get('/', async (request, reply) => {
      use(request)
      return reply.callNotFound()
    })
  },
  'an error handler that sends without return': (app, use) => {
    app.setErrorHandler(async (error: Error, request, reply) => {
      use(request)
      reply.code(409).send({ told: error.message })
    })
    app.get('/', async () => {
      throw new Error('the handler failed')
    })
  },
  'an error handler for a header that cannot be sent': (app, use) => {
    app.setErrorHandler(async (error: Error & { code: string }, _request, reply) => {
      await new Promise((resolve) => setImmediate(resolve))
      reply.removeHeader('location').code(500).send({ told: error.code })
    })
    app.get('/', async (request, reply) => {
      use(request)
      return reply.redirect(UNSENDABLE)
    })
  },
  'an error handler that fails': (app, use) => {
    app.setErrorHandler(async (_error, request) => {
      use(request)
      throw new Error('the error handler failed')
    })
    app.get('/', async () => {
      throw new Error('the handler failed')
    })
  },
  'an error handler that sends what cannot be sent': (app, use) => {
    app.setErrorHandler(async (_error, request, reply) => {
      use(request)
      reply.redirect(UNSENDABLE)
    })
    app.get('/', async () => {
      throw new Error('the handler failed')
    })
  },
  'an onSend hook that throws': (app, use) => {
    app.addHook('onSend', async (_request, reply) => {
      if (reply.statusCode < 500) throw new Error('the hook failed')
    })
    app.get('/', async (request) => {
      use(request)
      return { ok: true }
    })
  },
  'an onSend hook that changes the payload': (app, use) => {
    app.addHook('onSend', async (_request, _reply, payload) => `<${payload}>`)
    app.get('/', async (request, reply) => {
      use(request)
      return reply.send('text')
    })
  },
  'a guard in onRequest': guarded('onRequest', forbid),
  'a guard in preParsing': guarded('preParsing', forbid),
  'a guard in preValidation': guarded('preValidation', forbid),
  'a guard in preHandler': guarded('preHandler', forbid),
  'a guard that returns the reply': guarded('preHandler', (request, reply, use) => {
    forbid(request, reply, use)
    return reply
  }),
  'a guard that redirects to what cannot be sent': guarded('preHandler', (request, reply, use) => {
    use(request)
    reply.redirect(UNSENDABLE)
  }),
  'a guard that calls back': (app, use, note) => {
    app.addHook('preHandler', (request, reply, done) => {
      forbid(request, reply, use)
      done()
    })
    app.get('/', async () => {
      note('the handler')
      return SECRET
    })
  }
}

const VARYING = ['date', 'set-cookie', 'cache-control', 'connection', 'keep-alive', 'vary']

/** Puts each of the answers on a path of its own; resolves to how to get one by its name. */
export async function serveAnswers(
  app: FastifyInstance,
  use: (request: FastifyRequest) => void
): Promise<(name: string, cookie?: string) => Promise<Outcome>> {
  let trace: string[] = []
  const names = Object.keys(ANSWERS)
  for (const [index, answering] of Object.values(ANSWERS).entries()) {
    const child = async (instance: FastifyInstance): Promise<void> =>
      answering(instance, use, (what) => trace.push(what))
    app.register(child, { prefix: `/${index}` })
  }
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  return (name, cookie) => {
    trace = []
    return ask(`${url}/${names.indexOf(name)}`, trace, cookie)
  }
}

/** By HTTP, and with all of the answer. */
async function ask(url: string, trace: string[], cookie = ''): Promise<Outcome> {
  const client = httpRequest(url, { agent: false, headers: cookie === '' ? {} : { cookie } })
  client.end()
  try {
    const [response] = (await once(client, 'response')) as [IncomingMessage]
    let body = ''
    for await (const chunk of response) body += chunk
    const headers = Object.entries(response.headers).filter(([name]) => !VARYING.includes(name))
    return {
      status: response.statusCode ?? 0,
      body,
      headers: Object.fromEntries(headers),
      trailers: response.trailers,
      trace
    }
  } catch {
    return { status: 'cut off', body: '', headers: {}, trailers: {}, trace }
  }
}
