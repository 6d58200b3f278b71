import { crc32 } from 'node:zlib'

/** CRC-32 of a key and of what is under it: what got under another key does not match. */
export function checksum(key: Buffer, bytes: Buffer): number {
  return crc32(bytes, crc32(key))
}
