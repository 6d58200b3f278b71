import { InvalidPrincipalError } from '../errors.js'

const MAX_PRINCIPAL_BYTES = 1024

/** @throws {InvalidPrincipalError} */
export function checkPrincipal(principal: string): void {
  const length = typeof principal === 'string' ? Buffer.byteLength(principal) : 0
  if (length === 0 || length > MAX_PRINCIPAL_BYTES || !principal.isWellFormed()) {
    throw new InvalidPrincipalError(MAX_PRINCIPAL_BYTES)
  }
}
