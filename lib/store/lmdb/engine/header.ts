import { open } from 'node:fs/promises'
import { endianness } from 'node:os'

const MAGIC = 0xbeefc0de
const DATA_VERSION = 2
const META_BYTES = 160
/** Where they are behind the header of a page of 24 bytes. */
const MAGIC_AT = 24
const VERSION_AT = 28
const PAGE_SIZE_AT = 48
const ROOTS_AT = [88, 136]
const LAST_PAGE_AT = 144
const TRANSACTION_AT = 152
const NO_ROOT = 2n ** 64n - 1n
/** Pages at the end may never have been written, if the transaction that took them let them go. */
const MOST_UNWRITTEN = 64n

interface Meta {
  readonly pageSize: number
  readonly roots: readonly bigint[]
  readonly lastPage: bigint
  readonly transaction: bigint
}

/**
 * What is wrong with a file that should be a database of LMDB, or `null`. LMDB maps it as it is,
 * and a file of other content, or a part of one, ends the process by a signal.
 */
export async function findDamage(file: string): Promise<string | null> {
  const handle = await open(file, 'r')
  try {
    const { size } = await handle.stat()
    // LMDB makes a new one of it.
    if (size === 0) return null
    const read = async (position: number): Promise<Meta | null> => {
      const bytes = Buffer.alloc(META_BYTES)
      const { bytesRead } = await handle.read(bytes, 0, META_BYTES, position)
      return bytesRead === META_BYTES ? parseMeta(bytes) : null
    }
    const first = await read(0)
    if (first === null) return 'data.mdb is no database of LMDB in its format 2'
    const second = await read(first.pageSize)
    if (second === null) return 'data.mdb has lost its second page'
    // Others may write meanwhile: the file only grows, so a later size holds what an earlier header names.
    const { size: sizeNow } = await handle.stat()
    return isCutOff(first.transaction > second.transaction ? first : second, sizeNow)
      ? 'the end of data.mdb is missing'
      : null
  } finally {
    await handle.close()
  }
}

function isCutOff({ pageSize, roots, lastPage }: Meta, size: number): boolean {
  const pages = BigInt(Math.floor(size / pageSize))
  return (
    roots.some((root) => root !== NO_ROOT && root >= pages) || lastPage >= pages + MOST_UNWRITTEN
  )
}

/** It is written as the processor has its numbers. */
function parseMeta(bytes: Buffer): Meta | null {
  const littleEndian = endianness() === 'LE'
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const pageSize = view.getUint32(PAGE_SIZE_AT, littleEndian)
  if (view.getUint32(MAGIC_AT, littleEndian) !== MAGIC) return null
  if ((view.getUint32(VERSION_AT, littleEndian) & 0xffff) !== DATA_VERSION) return null
  if (pageSize < 256 || pageSize > 0x10000) return null
  return {
    pageSize,
    roots: ROOTS_AT.map((at) => view.getBigUint64(at, littleEndian)),
    lastPage: view.getBigUint64(LAST_PAGE_AT, littleEndian),
    transaction: view.getBigUint64(TRANSACTION_AT, littleEndian)
  }
}
