import { createHash } from 'node:crypto'
import { MARK_LENGTH } from './write-marks.js'

/**
 * What runs in the server, where nothing can come between reading and writing. Each has one key, so
 * that it runs while a cluster moves that to another node.
 */
export interface Script {
  readonly text: string
  readonly sha: string
}

function script(text: string): Script {
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}

/**
 * Puts a value, for so many ms, in the place of one that begins as expected. Replies 1, or else the
 * value that is there, if any.
 */
export const SWAP = script(`
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then
  return redis.call('GET', KEYS[1])
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
`)

/**
 * Writes over the beginning of a session that has this mark, which costs a third less than to put
 * all of it anew, and lets it live for so many ms if that is given. Replies as SWAP does.
 */
export const OVERWRITE = script(`
local call, key = redis.call, KEYS[1]
if call('GETRANGE', key, '0', '${MARK_LENGTH - 1}') ~= ARGV[1] then return call('GET', key) end
call('SETRANGE', key, '0', ARGV[2])
if ARGV[3] then call('PEXPIRE', key, ARGV[3]) end
return 1
`)

/** Puts a value with this mark, for so many ms, unless what is there has the mark already. */
export const PUT = script(`
if redis.call('TYPE', KEYS[1]).ok == 'string' then
  local line = string.match(redis.call('GETRANGE', KEYS[1], 0, 255), '^[^\\n]*')
  if string.find(line, ARGV[1], 1, true) then return 1 end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
`)

/** Deletes a session that begins as expected. Replies how many: 1 or 0. */
export const REMOVE = script(`
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
`)

/** Deletes a session, and leaves alone what says where it goes on. Replies how many: 1 or 0. */
export const DESTROY = script(`
if redis.call('GETRANGE', KEYS[1], 0, 0) == '>' then return 0 end
return redis.call('DEL', KEYS[1])
`)

/**
 * Lists a session as a user's until a time, which never moves back. What is past its time goes,
 * and so does the whole list by itself when the last entry is.
 */
export const FILE = script(`
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
if known and tonumber(known) >= tonumber(ARGV[2]) then return 1 end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return 1
`)

/** Replies 1 if the owner has the lease now, for so many ms. */
export const TAKE_LEASE = script(`
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
`)

export const RELEASE_LEASE = script(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
`)
