import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
/** Takes all that nobody has, and what only a `WeakRef` has, once the turn is over. */
export const collectGarbage = runInNewContext('gc') as () => void
