"""Events of scans, as Redis streams that several readers can follow and resume.

Keys: `tf:scan:<id>:events` of one scan · `tf:events:<owner>` of an owner's scans · `tf:events` of all. An entry is a
snapshot of what a poll would have shown at that moment; the scripts that change a scan write it in the same step. The
row keeps the last id of a scan's stream as `ended`, so the stream can expire before the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from tokenforce_core.scans.row import STATE_FIELDS, ScanState, scan_state

ALL_EVENTS = "tf:events"
OF_ONE_SCAN = 500
OF_ONE_OWNER = 10_000
PROGRESS_SECONDS = 1.0
"""Least time between two progress events of one scan."""
KEPT_AFTER_END = 3600
"""Seconds. The row of a finished scan has its last event, so its history need not stay."""
KEPT_WITHOUT_NEWS = 7 * 86400
"""Seconds."""

EMIT = f"""
local function emit(row, kind, now)
  local owner, id = redis.call('HGET', row, 'events'), string.sub(row, 9)
  if not owner then return '' end
  local entry = {{'scan', id, 'kind', kind, 'now', now}}
  local names = {{{", ".join(f"'{name}'" for name in STATE_FIELDS)}}}
  for i, value in ipairs(redis.call('HMGET', row, unpack(names))) do
    if value then
      entry[#entry + 1] = names[i]
      entry[#entry + 1] = value
    end
  end
  local live = redis.call('HGETALL', row .. ':live')
  for i = 1, #live, 2 do
    entry[#entry + 1] = 'live:' .. live[i]
    entry[#entry + 1] = live[i + 1]
  end
  redis.call('XADD', '{ALL_EVENTS}', 'MAXLEN', '~', {OF_ONE_OWNER}, '*', unpack(entry))
  redis.call('XADD', owner, 'MAXLEN', '~', {OF_ONE_OWNER}, '*', unpack(entry))
  redis.call('EXPIRE', '{ALL_EVENTS}', {KEPT_WITHOUT_NEWS})
  redis.call('EXPIRE', owner, {KEPT_WITHOUT_NEWS})
  return redis.call('XADD', row .. ':events', 'MAXLEN', '~', {OF_ONE_SCAN}, '*', unpack(entry))
end

local function emit_progress(row, now)
  local last = redis.call('HGET', row, 'progress_at')
  if last and now - last < {PROGRESS_SECONDS} then return end
  redis.call('HSET', row, 'progress_at', now)
  emit(row, 'progress', now)
end
"""
"""Lua. HMGET gives false for a missing field, at which ipairs does not stop."""


def events_of_owner(owner: str | None) -> str:
    """The key of the stream of an owner's scans; None means all."""
    return ALL_EVENTS if owner is None else f"{ALL_EVENTS}:{quote(owner, safe='')}"


def events_of_scan(scan_id: str) -> str:
    return f"tf:scan:{scan_id}:events"


@dataclass(frozen=True)
class ScanChange:
    """One entry of a stream. `at` is in seconds since the epoch."""

    id: str
    scan_id: str
    kind: str
    at: float
    state: ScanState


def scan_change(entry_id: str, fields: Mapping[str, str]) -> ScanChange:
    live = {name[5:]: value for name, value in fields.items() if name.startswith("live:")}
    return ScanChange(entry_id, fields["scan"], fields["kind"], float(fields["now"]), scan_state(fields, live))
