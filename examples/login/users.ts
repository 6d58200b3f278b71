import { hash, verify } from '@node-rs/argon2'

/** The accounts. Those of a real application are in its database. */
export class Users {
  readonly #passwordHashes = new Map<string, string>()
  /** Stands in for users that do not exist. */
  readonly #nobody = hash('the password of nobody')

  async add(name: string, password: string): Promise<void> {
    this.#passwordHashes.set(name, await hash(password))
  }

  /** Takes the same time whether or not the user exists, so that nobody can search for names. */
  async verify(name: string, password: string): Promise<boolean> {
    const known = this.#passwordHashes.get(name)
    const matches = await verify(known ?? (await this.#nobody), password)
    return matches && known !== undefined
  }
}
