import { createHash } from 'node:crypto'

/**
 * What runs in the server, where nothing can come between reading and writing. Each script gets
 * all its keys in KEYS, the two indexes first, and everything else as one JSON object. Texts stay
 * as they came: Lua's own numbers would lose digits on their way back to text.
 */
export interface Script {
  readonly text: string
  readonly sha: string
}

const COMMON = `
local a = cjson.decode(ARGV[1])
local now = tonumber(a.now)
local DAY = 86400000
local HOUR = 3600000

local function is_gone(born, expires)
  return born ~= a.born or tonumber(expires) <= now
end

-- The time left and not the moment: the server's clock may differ from the application's.
local function time_left(expires, extra)
  return string.format('%.0f', math.max(1, math.ceil(tonumber(expires) - now + extra)))
end

-- Puts a deadline where it is needed. Entries of a user's dead sessions go a day late, so that a
-- server whose clock is ahead cannot take live ones out of the list that "log out everywhere" uses.
local function file(record, principal, member, expires)
  redis.call('PEXPIRE', record, time_left(expires, 0))
  redis.call('ZADD', KEYS[1], expires, member)
  if not principal then return end
  redis.call('ZADD', principal, expires, member)
  redis.call('ZREMRANGEBYSCORE', principal, '-inf', string.format('%.0f', now - DAY))
  local left = time_left(expires, DAY)
  if redis.call('PTTL', principal) < tonumber(left) then redis.call('PEXPIRE', principal, left) end
end

local function change(record, set, del)
  for _, entry in ipairs(set) do
    local old = redis.call('HGET', record, entry[1])
    local order = old and string.match(old, '^%d+') or redis.call('HINCRBY', record, 'next', 1)
    redis.call('HSET', record, entry[1], order .. ' ' .. entry[2])
  end
  for _, field in ipairs(del) do redis.call('HDEL', record, field) end
end

-- When a user goes: what other processes have set in the meantime is that user's as well.
local function leave_only(record, fields)
  local kept = {}
  for _, field in ipairs(fields) do kept[field] = true end
  for _, field in ipairs(redis.call('HKEYS', record)) do
    if string.sub(field, 1, 1) == '=' and not kept[field] then redis.call('HDEL', record, field) end
  end
end

local function create(record, r)
  redis.call('DEL', record)
  redis.call('HSET', record, 'born', r.born, 'created', r.created, 'seen', r.seen,
    'expires', r.expires, 'expiry', r.expiry, 'principal', r.principal, 'metadata', r.metadata,
    'next', r.next or 0)
end

-- A request that changed the rules decides; otherwise those that are stored do, and a deadline
-- under the same rules never moves back.
local function rules(expires, expiry)
  if a.expiry ~= a.known.expiry then return a.expires, a.expiry end
  if expiry ~= a.known.expiry then return expires, expiry end
  if tonumber(a.expires) > tonumber(expires) then return a.expires, expiry end
  return expires, expiry
end
`

function script(body: string): Script {
  const text = COMMON + body
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}

/** Stores records whole, in the place of what is there. Keys: each record's and its principal's. */
export const PUT = script(`
for _, r in ipairs(a.records) do
  -- First what a full server refuses, so that nothing is half done.
  redis.call('ZADD', KEYS[2], 0, r.member)
  create(KEYS[r.at], r)
  change(KEYS[r.at], r.set, {})
  file(KEYS[r.at], r.principalAt and KEYS[r.principalAt], r.member, r.expires)
end
return 'ok'
`)

/**
 * Merges what one request has changed. Replies `gone`, or a list with the principal that is stored
 * if another process changed it: its key is not among ours, so the caller asks again with it.
 */
export const SAVE = script(`
local record = KEYS[3]
local stored = redis.call('HMGET', record, 'born', 'expires', 'expiry', 'principal', 'seen')
if is_gone(stored[1], stored[2]) then return 'gone' end
local moved = a.principal ~= a.known.principal
if not moved and stored[4] ~= a.principal then return {stored[4]} end
local expires, expiry = rules(stored[2], stored[3])
redis.call('HSET', record, 'expires', expires, 'expiry', expiry, 'principal', a.principal)
if tonumber(a.seen) > tonumber(stored[5]) then redis.call('HSET', record, 'seen', a.seen) end
if a.created ~= a.known.created then redis.call('HSET', record, 'created', a.created) end
if moved and stored[4] ~= '' and stored[4] ~= a.principal then leave_only(record, a.left) end
if a.metadata ~= a.known.metadata then redis.call('HSET', record, 'metadata', a.metadata) end
change(record, a.set, a.del)
if moved and a.knownAt then redis.call('ZREM', KEYS[a.knownAt], a.member) end
file(record, a.principalAt and KEYS[a.principalAt], a.member, expires)
return 'ok'
`)

/**
 * Moves a session to another handle. What is kept comes from what is stored, so that no change of
 * another process is lost. Replies as SAVE does.
 */
export const REPLACE = script(`
local flat = redis.call('HGETALL', KEYS[3])
local old = {}
for at = 1, #flat, 2 do old[flat[at]] = flat[at + 1] end
if not old.born or is_gone(old.born, old.expires) then return 'gone' end
local r = a.fresh
r.next, r.expires, r.expiry = old.next, a.expires, a.expiry
r.created, r.principal, r.metadata, r.seen = a.created, a.principal, a.metadata, a.seen
local kept = {}
local keep_all = a.keepAll
if a.keep then
  local another = old.principal ~= a.known.principal and old.principal ~= a.principal
  if keep_all and another and a.principal == a.known.principal then return {old.principal} end
  -- Another process has made it somebody else's, and so what is in it.
  if another and old.principal ~= '' then keep_all = false end
  r.expires, r.expiry = rules(old.expires, old.expiry)
  if keep_all and a.metadata == a.known.metadata then r.metadata = old.metadata end
  for _, field in ipairs(a.keep) do kept[field] = true end
end
redis.call('ZADD', KEYS[2], 0, r.member)
create(KEYS[4], r)
redis.call('SET', KEYS[5], r.member, 'PX', HOUR)
for at = 1, #flat, 2 do
  local field = flat[at]
  if string.sub(field, 1, 1) == '=' and (keep_all or kept[field]) then
    redis.call('HSET', KEYS[4], field, flat[at + 1])
  end
end
change(KEYS[4], a.set, a.del)
redis.call('DEL', KEYS[3])
redis.call('ZREM', KEYS[1], a.member)
redis.call('ZREM', KEYS[2], a.member)
if a.knownAt then redis.call('ZREM', KEYS[a.knownAt], a.member) end
file(KEYS[4], a.principalAt and KEYS[a.principalAt], r.member, r.expires)
return 'ok'
`)

/** Replies `ok`, `gone`, or a list that holds the value that is stored, if there is one. */
export const COMPARE_AND_SET = script(`
local record = KEYS[3]
local stored = redis.call('HMGET', record, 'born', 'expires', a.field)
if is_gone(stored[1], stored[2]) then return 'gone' end
local text
if stored[3] then text = string.match(stored[3], '^%d+ (.*)$') end
if text ~= a.expected then return {text} end
if a.text then change(record, {{a.field, a.text}}, {}) else change(record, {}, {a.field}) end
return 'ok'
`)

/** Replies how many records it has deleted: 1, or 0 if the session had ended. */
export const DESTROY = script(`
local deleted = redis.call('DEL', KEYS[3])
redis.call('ZREM', KEYS[1], a.member)
redis.call('ZREM', KEYS[2], a.member)
if a.knownAt then redis.call('ZREM', KEYS[a.knownAt], a.member) end
return deleted
`)

/** Takes sessions whose time has come; replies how many. Those that the server deleted count too. */
export const EXPIRE = script(`
local expired = 0
for at, member in ipairs(a.members) do
  local record = KEYS[at + 2]
  local expires = redis.call('HGET', record, 'expires')
  if expires and tonumber(expires) > now then
    redis.call('ZADD', KEYS[1], expires, member)
  else
    redis.call('DEL', record)
    expired = expired + redis.call('ZREM', KEYS[1], member)
    redis.call('ZREM', KEYS[2], member)
  end
end
return expired
`)

/** Puts a record that does not decode aside, for 30 days. */
export const QUARANTINE = script(`
if redis.call('EXISTS', KEYS[3]) == 0 then return 'gone' end
redis.call('RENAME', KEYS[3], KEYS[4])
redis.call('PEXPIRE', KEYS[4], string.format('%.0f', 30 * DAY))
redis.call('ZREM', KEYS[1], a.member)
redis.call('ZREM', KEYS[2], a.member)
return 'ok'
`)

/** Replies 1 if the owner has the lease now. Keys behind the two indexes: the lease. */
export const TAKE_LEASE = script(`
local owner = redis.call('GET', KEYS[3])
if owner and owner ~= a.owner then return 0 end
redis.call('SET', KEYS[3], a.owner, 'PX', a.milliseconds)
return 1
`)

export const RELEASE_LEASE = script(`
if redis.call('GET', KEYS[3]) == a.owner then return redis.call('DEL', KEYS[3]) end
return 0
`)
