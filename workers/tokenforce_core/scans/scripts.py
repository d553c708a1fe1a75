"""The Lua scripts that change a scan.

Each takes the scan's row as its first key and makes one whole change: row, indexes (index.py), events (events.py) and
counters (counters.py). Readers never see a partial update.
"""

from __future__ import annotations

from tokenforce_core.queues.counters import TALLY
from tokenforce_core.scans.events import EMIT, KEPT_AFTER_END
from tokenforce_core.scans.index import EXPIRING, REINDEX

_MOVED = (
    REINDEX
    + TALLY
    + EMIT
    + f"""
local final = {{succeeded = true, failed = true, cancelled = true}}

local function moved(row, from, to, now, retention)
  if from == to then return end
  local place, indexes = unpack(redis.call('HMGET', row, 'place', 'indexes'))
  if place then reindex(place, indexes, from, to) end
  local event = emit(row, 'status', now)
  if not final[to] then return end
  ended(to, now)
  redis.call('HSET', row, 'ended', event)
  redis.call('EXPIRE', row .. ':events', {KEPT_AFTER_END})
  if place then redis.call('ZADD', '{EXPIRING}', now + retention, to .. ' ' .. place .. ' ' .. indexes) end
end
"""
)

CREATE = (
    _MOVED
    + """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'status', 'queued', 'created_at', ARGV[2], unpack(ARGV, 3))
redis.call('SADD', KEYS[2], ARGV[1])
moved(KEYS[1], '', 'queued', ARGV[2], 0)
return 1
"""
)
"""Keys: row, active ids. Arguments: id, now, fields and values of the row."""

FORGET_UNSTORED = """
if redis.call('HEXISTS', KEYS[1], 'status') == 1 then return 0 end
return redis.call('SREM', KEYS[2], ARGV[1])
"""
"""Keys: row, active ids. Arguments: id."""

ADVANCE = (
    _MOVED
    + """
local status = redis.call('HGET', KEYS[1], 'status')
for i = 5, #ARGV do
  if status == ARGV[i] then
    redis.call('HSET', KEYS[1], 'status', ARGV[1], 'at:' .. ARGV[1], ARGV[2])
    if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'error', ARGV[3]) end
    moved(KEYS[1], status, ARGV[1], ARGV[2], ARGV[4])
    return 1
  end
end
return 0
"""
)
"""Keys: row. Arguments: new status, now, error or '', retention in seconds, the statuses that may become it."""

FINISH = (
    _MOVED
    + """
if redis.call('HGET', KEYS[1], 'status') ~= ARGV[5] then return 0 end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[1], 'status', 'succeeded', 'verdict', ARGV[2], 'at:succeeded', ARGV[3])
moved(KEYS[1], ARGV[5], 'succeeded', ARGV[3], ARGV[4])
return 1
"""
)
"""Keys: row, report. Arguments: report, verdict, now, retention in seconds, the status before."""

NOTE_PROGRESS = (
    TALLY
    + EMIT
    + """
local status = redis.call('HGET', KEYS[1], 'status')
local busy = {searching = true, sweeping = true, contrasting = true, confirming = true}
if not busy[status] or (ARGV[1] == 'search' and status ~= 'searching') then return 0 end
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then return 0 end
produced(KEYS[2], ARGV[1], ARGV[4], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
local last = redis.call('HGET', KEYS[1], 'last_token_at')
local gap = last and (ARGV[3] - last) or 0
if gap < 10 then redis.call('HINCRBYFLOAT', KEYS[1], 'busy_seconds', gap) end
redis.call('HSET', KEYS[1], 'last_token_at', ARGV[3])
emit_progress(KEYS[1], ARGV[3])
return 1
"""
)
"""Keys: row, live, committed parts. Arguments: part, "done tokens", now, tokens."""

COMMIT_SHARD = (
    TALLY
    + EMIT
    + """
if redis.call('HGET', KEYS[1], 'status') ~= 'sweeping' then return {0, redis.call('HLEN', KEYS[2])} end
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 0 then return {0, redis.call('HLEN', KEYS[2])} end
redis.call('HINCRBY', KEYS[1], 'entries', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'tokens', ARGV[4])
produced(KEYS[3], ARGV[1], ARGV[4], ARGV[6])
count('shards|sweep', 1)
redis.call('HDEL', KEYS[3], ARGV[1])
for i = 7, #ARGV, 2 do redis.call('ZADD', KEYS[4], ARGV[i], ARGV[i + 1]) end
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -(tonumber(ARGV[5]) + 1))
emit_progress(KEYS[1], ARGV[6])
return {1, redis.call('HLEN', KEYS[2])}
"""
)
"""Keys: row, shards, live, best. Arguments: shard, result, entries, tokens, keep, now, scores and forced ids."""

COMMIT_CONTRAST = (
    TALLY
    + EMIT
    + """
if redis.call('HGET', KEYS[1], 'status') ~= 'contrasting' then return redis.call('HLEN', KEYS[2]) end
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 1 then
  redis.call('HINCRBY', KEYS[1], 'contrast_entries', ARGV[3])
  redis.call('HINCRBY', KEYS[1], 'tokens', ARGV[4])
  produced(KEYS[3], ARGV[1], ARGV[4], ARGV[5])
  count('shards|contrast', 1)
  redis.call('HDEL', KEYS[3], ARGV[1])
  emit_progress(KEYS[1], ARGV[5])
end
return redis.call('HLEN', KEYS[2])
"""
)
"""Keys: row, contrast, live. Arguments: part, result, entries, tokens, now."""

COMMIT_SEARCHED = (
    TALLY
    + """
if redis.call('HGET', KEYS[1], 'status') ~= 'searching' then return 0 end
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'EX', ARGV[2]) then return 0 end
redis.call('HINCRBY', KEYS[1], 'tokens', ARGV[3])
produced(KEYS[3], 'search', ARGV[3], ARGV[4])
redis.call('HDEL', KEYS[3], 'search')
return 1
"""
)
"""Keys: row, searched, live. Arguments: result, retention in seconds, tokens, now."""

COMMIT_CONFIRMED = (
    TALLY
    + """
local status = redis.call('HGET', KEYS[1], 'status')
if not status or status == 'succeeded' or status == 'failed' or status == 'cancelled' then return 0 end
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'EX', ARGV[2]) then return 0 end
redis.call('HINCRBY', KEYS[1], 'tokens', ARGV[3])
produced(KEYS[3], 'confirm', ARGV[3], ARGV[4])
redis.call('HDEL', KEYS[3], 'confirm')
return 1
"""
)
"""Keys: row, confirmed, live. Arguments: result, retention in seconds, tokens, now."""
