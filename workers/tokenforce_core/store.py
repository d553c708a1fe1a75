"""Scans in Redis: the only file that knows the keys.

Every change of state is one Lua script or one command, so two processes that do the same thing at the
same time (a lapsed lease runs a shard twice) do it once. A final status never changes again.

Keys: `tf:scan:<id>` hash (request, status, plan, counters, times) · `…:shards` hash shard → candidates ·
`…:live` hash of uncommitted progress · `…:best:<context>` the K best scores · `…:contrast` as `…:shards`
(contrast_store.py) · `…:confirmed`, `…:report` strings · `tf:scans` all ids by creation time · `tf:active` ids
not yet final · `tf:architectures`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, cast

from redis import Redis

from tokenforce.types import MAX_CONTEXTS, Problem, Report, ScanRequest, ScanStatus
from tokenforce_core.hook_origin import HookOrigin
from tokenforce_core.plan import Plan
from tokenforce_core.results import CONFIRMED, SWEPT, ConfirmedText, SweptText
from tokenforce_core.scan_row import ScanRow, scan_row, text
from tokenforce_core.untold_ends import note_end

SCANS = "tf:scans"
ACTIVE = "tf:active"
ARCHITECTURES = "tf:architectures"
CONTRAST_PART = "contrast-"
"""What the contrast shards' parts of work begin with."""

_ADVANCE = """
local status = redis.call('HGET', KEYS[1], 'status')
for i = 4, #ARGV do
  if status == ARGV[i] then
    redis.call('HSET', KEYS[1], 'status', ARGV[1], 'at:' .. ARGV[1], ARGV[2])
    if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'error', ARGV[3]) end
    return 1
  end
end
return 0
"""

_NOTE_PROGRESS = """
local status = redis.call('HGET', KEYS[1], 'status')
if status ~= 'sweeping' and status ~= 'contrasting' and status ~= 'confirming' then return 0 end
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
local last = redis.call('HGET', KEYS[1], 'last_token_at')
local gap = last and (ARGV[3] - last) or 0
if gap < 10 then redis.call('HINCRBYFLOAT', KEYS[1], 'busy_seconds', gap) end
redis.call('HSET', KEYS[1], 'last_token_at', ARGV[3])
return 1
"""

_FINISH = """
if redis.call('HGET', KEYS[1], 'status') ~= ARGV[4] then return 0 end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[1], 'status', 'succeeded', 'verdict', ARGV[2], 'at:succeeded', ARGV[3])
return 1
"""

_COMMIT_SHARD = """
if redis.call('HGET', KEYS[1], 'status') ~= 'sweeping' then return {0, redis.call('HLEN', KEYS[2])} end
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 0 then return {0, redis.call('HLEN', KEYS[2])} end
redis.call('HINCRBY', KEYS[1], 'entries', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'tokens', ARGV[4])
redis.call('HDEL', KEYS[3], ARGV[1])
for i = 6, #ARGV, 2 do redis.call('ZADD', KEYS[4], ARGV[i], ARGV[i + 1]) end
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -(tonumber(ARGV[5]) + 1))
return {1, redis.call('HLEN', KEYS[2])}
"""


class Store:
    """Scans, shard results and rankings. Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis, retention_seconds: int = 30 * 86400) -> None:
        self.connection = connection
        self._retention = retention_seconds
        self._advance = connection.register_script(_ADVANCE)
        self._note = connection.register_script(_NOTE_PROGRESS)
        self._finish = connection.register_script(_FINISH)
        self._commit = connection.register_script(_COMMIT_SHARD)

    @staticmethod
    def _key(scan_id: str, part: str = "") -> str:
        return f"tf:scan:{scan_id}" + (f":{part}" if part else "")

    # --- life of a scan -------------------------------------------------------------------------

    def create(self, scan_id: str, request: ScanRequest, owner: str, origin: HookOrigin | None = None) -> None:
        """A new scan, which belongs to `owner`; `origin`: the hook that started it."""
        fields = {"request": request.model_dump_json(), "status": ScanStatus.queued.value, "owner": owner}
        if origin is not None:
            fields["origin"] = origin.model_dump_json()
        now = time.time()
        with self.connection.pipeline() as pipe:
            pipe.hset(self._key(scan_id), mapping=cast(Any, {**fields, "created_at": now}))
            pipe.zadd(SCANS, {scan_id: now})
            pipe.sadd(ACTIVE, scan_id)
            pipe.execute()

    def advance(self, scan_id: str, to: ScanStatus, *allowed: ScanStatus) -> bool:
        """Move a scan to `to` if its status is one of `allowed`; False otherwise."""
        return self._move(scan_id, to, allowed)

    def _move(self, scan_id: str, to: ScanStatus, allowed: Iterable[ScanStatus], error: str = "") -> bool:
        args = [to.value, time.time(), error, *(status.value for status in allowed)]
        moved = bool(self._advance(keys=[self._key(scan_id)], args=args))
        if moved and to.final:
            self.settle(scan_id)
        return moved

    def fail(self, scan_id: str, problem: Problem) -> bool:
        """End a scan with an error, unless it has ended already. Nobody sees the one without the other."""
        unfinished = [status for status in ScanStatus if not status.final]
        return self._move(scan_id, ScanStatus.failed, unfinished, problem.model_dump_json())

    def cancel(self, scan_id: str) -> bool:
        return self.advance(scan_id, ScanStatus.cancelled, *(s for s in ScanStatus if not s.final))

    def finish(self, scan_id: str, report: Report, after: ScanStatus = ScanStatus.aggregating) -> bool:
        """Store the report and succeed, both or neither: a cancelled scan gets no report."""
        keys = [self._key(scan_id), self._key(scan_id, "report")]
        done = self._finish(keys=keys, args=[report.model_dump_json(), report.verdict.value, time.time(), after.value])
        if done:
            self.settle(scan_id)
        return bool(done)

    def settle(self, scan_id: str) -> None:
        """Move a final scan from the active ones to those whose end is to be told, and let it expire.

        Idempotent; the reaper repeats it for scans whose process died between the status and this.
        """
        with self.connection.pipeline() as pipe:
            pipe.srem(ACTIVE, scan_id)
            note_end(pipe, scan_id, self._retention)
            for part in ("", "shards", "contrast", "engine", "confirmed", "report"):
                pipe.expire(self._key(scan_id, part), self._retention)
            # Questions and answers (fingerprint_store.py) hold the registry's secrets: they end with the scan.
            unneeded = ["live", "reuse", "questions", "answers", *(f"best:{i}" for i in range(MAX_CONTEXTS))]
            pipe.delete(*(self._key(scan_id, part) for part in unneeded))
            pipe.zremrangebyscore(SCANS, 0, time.time() - self._retention)
            pipe.execute()

    # --- reading --------------------------------------------------------------------------------

    def status(self, scan_id: str) -> ScanStatus | None:
        value = self.connection.hget(self._key(scan_id), "status")
        return None if value is None else ScanStatus(text(value))

    def row(self, scan_id: str) -> ScanRow | None:
        """The scan, or None if there is none of that id."""
        with self.connection.pipeline() as pipe:
            pipe.hgetall(self._key(scan_id))
            pipe.hgetall(self._key(scan_id, "live"))
            raw, live = pipe.execute()
        return scan_row(scan_id, raw, live) if raw else None

    def page(self, limit: int, before: tuple[float, str] | None = None) -> list[ScanRow]:
        """Up to `limit` scans, newest first, strictly older than `before` (creation time, id)."""
        start = 0
        if before is not None:
            place = self.connection.zrevrank(SCANS, before[1])
            # An expired scan has no place any more: go on with what is older than it was.
            start = cast(int, place) + 1 if place is not None else self._newer_or_as_old(before[0])
        wanted = [text(i) for i in cast(Iterable[bytes], self.connection.zrevrange(SCANS, start, start + limit - 1))]
        with self.connection.pipeline() as pipe:
            for scan_id in wanted:
                pipe.hgetall(self._key(scan_id))
                pipe.hgetall(self._key(scan_id, "live"))
            raw = pipe.execute()
        rows = zip(wanted, raw[::2], raw[1::2], strict=True)
        return [scan_row(scan_id, fields, live) for scan_id, fields, live in rows if fields]

    def _newer_or_as_old(self, created_at: float) -> int:
        return int(self.connection.zcount(SCANS, created_at, "+inf"))

    def active(self) -> list[str]:
        return sorted(text(i) for i in cast(Iterable[bytes], self.connection.smembers(ACTIVE)))

    def plan(self, scan_id: str) -> Plan | None:
        raw = self.connection.hget(self._key(scan_id), "plan")
        return None if raw is None else Plan.model_validate_json(text(raw))

    def set_plan(self, scan_id: str, plan: Plan) -> None:
        fields = {"plan": plan.model_dump_json(), "entries_total": plan.entries}
        self.connection.hset(self._key(scan_id), mapping=cast(Any, fields))

    # --- work -----------------------------------------------------------------------------------

    def note_progress(self, scan_id: str, part: str, done: int, tokens: int) -> None:
        """Record what is done of an uncommitted part: a shard's index, `contrast-<index>`, or `confirm`."""
        committed = "contrast" if part.startswith(CONTRAST_PART) else "shards"
        keys = [self._key(scan_id), self._key(scan_id, "live"), self._key(scan_id, committed)]
        self._note(keys=keys, args=[part, f"{done} {tokens}", time.time()])

    def commit_shard(
        self, scan_id: str, shard: int, context: int, swept: list[SweptText], entries: int, tokens: int, keep: int
    ) -> int:
        """Store a shard's result once; returns how many shards are committed now."""
        scores = [x for s in swept for x in (s.candidate.score, f"{s.candidate.forced_id}")]
        _, committed = self._commit(
            keys=[
                self._key(scan_id),
                self._key(scan_id, "shards"),
                self._key(scan_id, "live"),
                self._key(scan_id, f"best:{context}"),
            ],
            args=[shard, SWEPT.dump_json(swept), entries, tokens, keep, *scores],
        )
        return int(committed)

    def committed_shards(self, scan_id: str) -> set[int]:
        keys = cast(Iterable[bytes], self.connection.hkeys(self._key(scan_id, "shards")))
        return {int(key) for key in keys}

    def kth_best(self, scan_id: str, context: int, keep: int) -> float:
        """The K-th best score that any shard of this context has reached, 0 while there are fewer."""
        row: list[tuple[bytes, float]] = self.connection.zrevrange(  # type: ignore[assignment]
            self._key(scan_id, f"best:{context}"), keep - 1, keep - 1, withscores=True
        )
        return float(row[0][1]) if row else 0.0

    def swept(self, scan_id: str) -> list[SweptText]:
        """All shards' candidates in total order."""
        raw = cast(Iterable[bytes], self.connection.hvals(self._key(scan_id, "shards")))
        merged = [item for shard in raw for item in SWEPT.validate_json(shard)]
        return sorted(merged, key=lambda item: item.candidate.sort_key)

    def note_engine(self, scan_id: str, facts: Mapping[str, str]) -> None:
        """Record what the engine ran on: versions, device, compute type."""
        with self.connection.pipeline() as pipe:
            pipe.hset(self._key(scan_id, "engine"), mapping=cast(Any, dict(facts)))
            pipe.expire(self._key(scan_id, "engine"), self._retention)
            pipe.execute()

    def engine(self, scan_id: str) -> dict[str, str]:
        raw = cast(Mapping[bytes, bytes], self.connection.hgetall(self._key(scan_id, "engine")))
        return {key.decode(): value.decode() for key, value in raw.items()}

    def set_confirm_total(self, scan_id: str, total: int) -> None:
        self.connection.hset(self._key(scan_id), "confirm_total", str(total))

    def commit_confirmed(self, scan_id: str, confirmed: list[ConfirmedText], tokens: int) -> None:
        document = CONFIRMED.dump_json(confirmed)
        if self.connection.set(self._key(scan_id, "confirmed"), document, nx=True, ex=self._retention):
            with self.connection.pipeline() as pipe:
                pipe.hincrby(self._key(scan_id), "tokens", tokens)
                pipe.hdel(self._key(scan_id, "live"), "confirm")
                pipe.execute()

    def is_confirmed(self, scan_id: str) -> bool:
        return bool(self.connection.exists(self._key(scan_id, "confirmed")))

    def confirmed(self, scan_id: str) -> list[ConfirmedText] | None:
        raw = self.connection.get(self._key(scan_id, "confirmed"))
        return None if raw is None else CONFIRMED.validate_json(cast(bytes, raw))

    def report(self, scan_id: str) -> Report | None:
        raw = self.connection.get(self._key(scan_id, "report"))
        return None if raw is None else Report.model_validate_json(cast(bytes, raw))

    # --- workers --------------------------------------------------------------------------------

    def publish_architectures(self, names: Iterable[str]) -> None:
        """What the engines of this service can load; the gateway refuses the rest at once."""
        self.connection.sadd(ARCHITECTURES, *names)

    def supports(self, architecture: str) -> bool | None:
        """Whether some engine can load it; None while no worker has ever reported."""
        if not self.connection.exists(ARCHITECTURES):
            return None
        return bool(self.connection.sismember(ARCHITECTURES, architecture))
