import { BIG, PROFILE } from './session-data.js'

interface Request {
  session: { counter?: number; profile?: string; destroy(done: () => void): void }
}
interface Response {
  type(name: string): Response
  send(text: string): void
}
interface App {
  disable(setting: string): void
  use(middleware: unknown): void
  get(path: string, handler: (request: Request, response: Response) => void): void
  listen(port: number, host: string, done: () => void): { address(): { port: number } }
}

/** Starts express with express-session and the routes that all peers serve. */
export async function expressApp(
  secret: string,
  makeStore?: (session: unknown) => Promise<unknown>
): Promise<number> {
  const { default: express } = (await import('express' as string)) as { default: () => App }
  const { default: session } = (await import('express-session' as string)) as {
    default: (options: object) => unknown
  }
  const app = express()
  app.disable('etag')
  const store = makeStore === undefined ? {} : { store: await makeStore(session) }
  app.use(session({ secret, resave: false, saveUninitialized: false, ...store }))
  const reply = (response: Response, counter: number): void =>
    response.type('text/plain').send(`Current count: ${counter}`)
  app.get('/counter', (request, response) => {
    const counter = request.session.counter ?? 0
    request.session.counter = counter + 1
    reply(response, counter)
  })
  app.get('/read', (request, response) => reply(response, request.session.counter ?? 0))
  app.get('/untouched', (_request, response) => reply(response, 0))
  app.get('/create', (request, response) => {
    request.session.profile = PROFILE
    reply(response, 0)
  })
  app.get('/big', (request, response) => {
    request.session.profile = BIG
    reply(response, 0)
  })
  app.get('/destroy', (request, response) => request.session.destroy(() => reply(response, 0)))
  return new Promise((resolve) => {
    const server = app.listen(0, '127.0.0.1', () => resolve(server.address().port))
  })
}
