"""Scans in Redis: creation, status, plan and report. work_store.py has the results of their stages.

Every change of state is one Lua script (scripts.py) or one command, so two processes that do the same thing at the same
time (a shard runs twice after its lease ends) do it once. A final status never changes again.

Keys: `tf:scan:<id>` hash (request, owner, status, plan, counters, times, places in the indexes) · `…:engine` hash ·
`…:report` string · `tf:active` ids of scans that have not ended. index.py, events.py, queues/counters.py name theirs.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from redis import Redis

from tokenforce.wire.problems import Problem
from tokenforce.wire.report import Report
from tokenforce.wire.scans import MAX_CONTEXTS, ScanRequest, ScanStatus
from tokenforce_core.plan.plan import Plan
from tokenforce_core.queues.job_context import REQUEST_ID
from tokenforce_core.runtime.text_redis import text_redis
from tokenforce_core.scans.events import events_of_owner
from tokenforce_core.scans.index import ScanIndex, indexes_of, place_of
from tokenforce_core.scans.origin import HookOrigin
from tokenforce_core.scans.row import ROW_FIELDS, ScanRow, scan_key, scan_row
from tokenforce_core.scans.scripts import (
    ADVANCE,
    CREATE,
    FINISH,
    FORGET_UNSTORED,
)
from tokenforce_core.scans.unannounced_ends import note_end
from tokenforce_core.scans.work_store import WorkStore

ACTIVE = "tf:active"


class Store:
    """Scans. Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis, retention_seconds: int = 30 * 86400) -> None:
        self.connection = connection
        """Answers with bytes, as RQ needs it."""
        self.redis = text_redis(connection)
        self.work = WorkStore(connection, retention_seconds)
        self._retention = retention_seconds
        self.index = ScanIndex(connection)
        self._create = self.redis.register_script(CREATE)
        self._forget_unstored = self.redis.register_script(FORGET_UNSTORED)
        self._advance = self.redis.register_script(ADVANCE)
        self._finish = self.redis.register_script(FINISH)

    # --- life of a scan -------------------------------------------------------------------------

    def create(
        self,
        scan_id: str,
        request: ScanRequest,
        owner: str,
        inherited: Mapping[str, str] | None = None,
        origin: HookOrigin | None = None,
    ) -> None:
        """A new scan, which belongs to `owner`.

        Args:
            inherited: what its jobs inherit from the request (job_context.py).
            origin: the hook that started it.
        """
        now = time.time()
        fields = {
            **(inherited or {}),
            **({"origin": origin.model_dump_json()} if origin is not None else {}),
            "request": request.model_dump_json(),
            "owner": owner,
            "place": place_of(now, scan_id),
            "indexes": " ".join(indexes_of(owner, request.model)),
            "events": events_of_owner(owner),
        }
        pairs = [part for pair in fields.items() for part in pair]
        self._create(keys=[scan_key(scan_id), ACTIVE], args=[scan_id, now, *pairs])

    def advance(self, scan_id: str, to: ScanStatus, *allowed: ScanStatus) -> bool:
        """Move a scan to `to` if its status is one of `allowed`; False otherwise."""
        return self._move(scan_id, to, allowed)

    def _move(self, scan_id: str, to: ScanStatus, allowed: Iterable[ScanStatus], error: str = "") -> bool:
        args = [to.value, time.time(), error, self._retention, *(status.value for status in allowed)]
        moved = bool(self._advance(keys=[scan_key(scan_id)], args=args))
        if moved and to.final:
            self.settle(scan_id)
        return moved

    def fail(self, scan_id: str, problem: Problem) -> bool:
        """End a scan with an error, unless it has ended already. Status and error change together."""
        if problem.request_id is None:
            request_id = self.redis.hget(scan_key(scan_id), REQUEST_ID)
            problem = problem.model_copy(update={"request_id": request_id})
        unfinished = [status for status in ScanStatus if not status.final]
        return self._move(scan_id, ScanStatus.failed, unfinished, problem.model_dump_json())

    def cancel(self, scan_id: str) -> bool:
        return self.advance(scan_id, ScanStatus.cancelled, *(s for s in ScanStatus if not s.final))

    def finish(self, scan_id: str, report: Report, after: ScanStatus = ScanStatus.aggregating) -> bool:
        """Store the report and end the scan as succeeded, both or neither: a cancelled scan gets no report."""
        keys = [scan_key(scan_id), scan_key(scan_id, "report")]
        args = [report.model_dump_json(), report.verdict.value, time.time(), self._retention, after.value]
        done = self._finish(keys=keys, args=args)
        if done:
            self.settle(scan_id)
        return bool(done)

    def settle(self, scan_id: str) -> None:
        """Move an ended scan from the active ones to the unannounced ends, and let it expire.

        Idempotent. The reaper repeats it for scans whose process died before this.
        """
        # Not `status`: the reaper also settles scans with a status that only another version knows.
        succeeded = self.redis.hget(scan_key(scan_id), "status") == ScanStatus.succeeded
        with self.redis.pipeline() as pipe:
            pipe.srem(ACTIVE, scan_id)
            note_end(pipe, scan_id, self._retention)
            for part in ("", "searched", "shards", "contrast", "engine", "confirmed", "report"):
                pipe.expire(scan_key(scan_id, part), self._retention)
            # Questions and answers (fingerprints/store.py) contain registered secrets: they end with the scan.
            unneeded = ["live", "reuse", "questions", "answers", *(f"best:{i}" for i in range(MAX_CONTEXTS))]
            if succeeded:  # its report has them all; of other scans the findings so far stay readable
                unneeded += ["searched", "shards", "contrast", "confirmed"]
            pipe.delete(*(scan_key(scan_id, part) for part in unneeded))
            pipe.execute()
        self.index.forget_expired()

    def forget_unstored(self, scan_id: str) -> bool:
        """Remove an id without a scan from the active ones; False if its scan has been stored meanwhile."""
        return bool(self._forget_unstored(keys=[scan_key(scan_id), ACTIVE], args=[scan_id]))

    # --- reading --------------------------------------------------------------------------------

    def status(self, scan_id: str) -> ScanStatus | None:
        value = self.redis.hget(scan_key(scan_id), "status")
        return None if value is None else ScanStatus(value)

    def owner(self, scan_id: str) -> str | None:
        """The owner of a scan; None if there is no such scan."""
        return self.redis.hget(scan_key(scan_id), "owner")

    def row(self, scan_id: str) -> ScanRow | None:
        """The scan, without its plan, in one round trip; None if there is no such scan."""
        return next(iter(self._rows([scan_id])), None)

    def page(
        self,
        limit: int,
        before: tuple[float, str] | None = None,
        *,
        owner: str | None = None,
        model: str | None = None,
        statuses: Collection[ScanStatus] = (),
        since: float | None = None,
    ) -> list[ScanRow]:
        """Up to `limit` scans, newest first, strictly older than `before` (creation time, id).

        Args:
            owner, model, statuses, since: only scans of this owner, of exactly this model, in one of these statuses,
                created at this time (seconds since the epoch) or later.
        """
        found: list[ScanRow] = []
        place = None if before is None else place_of(*before)
        while missing := limit - len(found):
            places = self.index.places(missing, owner=owner, model=model, statuses=statuses, since=since, before=place)
            found += self._rows([place.partition(":")[2] for place in places])
            if len(places) < missing:
                break
            place = places[-1]  # some have expired and not left the index yet
        return found

    def _rows(self, scan_ids: Sequence[str]) -> list[ScanRow]:
        with self.redis.pipeline() as pipe:
            for scan_id in scan_ids:
                pipe.hmget(scan_key(scan_id), ROW_FIELDS)
                pipe.hgetall(scan_key(scan_id, "live"))
            raw = pipe.execute()
        rows = (scan_row(*item) for item in zip(scan_ids, raw[::2], raw[1::2], strict=True))
        return [row for row in rows if row is not None]

    def active(self) -> list[str]:
        return sorted(self.redis.smembers(ACTIVE))

    def plan(self, scan_id: str) -> Plan | None:
        raw = self.redis.hget(scan_key(scan_id), "plan")
        return None if raw is None else Plan.model_validate_json(raw)

    def set_plan(self, scan_id: str, plan: Plan) -> None:
        fields: dict[str, str | float] = {"plan": plan.model_dump_json(), "entries_total": plan.entries}
        self.redis.hset(scan_key(scan_id), mapping=fields)

    def report(self, scan_id: str) -> Report | None:
        raw = self.redis.get(scan_key(scan_id, "report"))
        return None if raw is None else Report.model_validate_json(raw)

    # --- facts for the report -------------------------------------------------------------------

    def note_engine(self, scan_id: str, facts: Mapping[str, str]) -> None:
        """Record versions, device and compute type of the engine."""
        fields: dict[Any, Any] = dict(facts)
        with self.redis.pipeline() as pipe:
            pipe.hset(scan_key(scan_id, "engine"), mapping=fields)
            pipe.expire(scan_key(scan_id, "engine"), self._retention)
            pipe.execute()

    def engine(self, scan_id: str) -> dict[str, str]:
        return self.redis.hgetall(scan_key(scan_id, "engine"))
