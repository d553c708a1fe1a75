"""The lists of scans agree with a plain Python model of them, whatever happens in whatever order."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.scan_results import example_report
from tokenforce.wire.problems import Problem
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce_core.scans.index import EXPIRING
from tokenforce_core.scans.store import Store

OWNERS = ["ann", "bob:x y%"]
MODELS = ["org/a", "org/b"]
UNFINISHED = [status for status in ScanStatus if not status.final]
PROBLEM = Problem(title="t", status=500, detail="d", code="engine_failed")

CREATES = st.tuples(st.just("create"), st.sampled_from(OWNERS), st.sampled_from(MODELS))
MOVES = st.tuples(
    st.sampled_from(["advance", "cancel", "fail", "finish"]), st.integers(0, 20), st.sampled_from(UNFINISHED)
)
EXPIRES = st.tuples(st.just("expire"), st.integers(0, 20), st.none())


class Model:
    """What the store ought to hold: (owner, model, status) by id, in the order of creation."""

    def __init__(self) -> None:
        self.scans: dict[str, tuple[str, str, ScanStatus]] = {}

    def ids(self, owner: str | None, model: str | None, statuses: list[ScanStatus]) -> list[str]:
        return [
            scan_id
            for scan_id, (whose, which, status) in reversed(self.scans.items())
            if owner in (None, whose) and model in (None, which) and (not statuses or status in statuses)
        ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=st.lists(st.one_of(CREATES, MOVES, EXPIRES), max_size=40), data=st.data())
def test_lists_are_those_of_a_plain_model(redis: Any, operations: list[tuple[Any, ...]], data: st.DataObject) -> None:
    redis.flushdb()
    store, model = Store(redis), Model()
    for number, (what, first, second) in enumerate(operations):
        if what == "create":
            store.create(f"scan_{number:03}", ScanRequest(model=second), first)
            model.scans[f"scan_{number:03}"] = (first, second, ScanStatus.queued)
            continue
        if not model.scans:
            continue
        scan_id = sorted(model.scans)[first % len(model.scans)]
        owner, name, status = model.scans[scan_id]
        if what == "expire":
            _expire(redis, scan_id, status)
            if status.final:
                del model.scans[scan_id]
        elif _move(store, scan_id, what, second):
            reached = {"cancel": ScanStatus.cancelled, "fail": ScanStatus.failed, "finish": ScanStatus.succeeded}
            model.scans[scan_id] = (owner, name, reached.get(what, second))
            assert not status.final
        else:
            assert status.final or what == "finish"
    store.index.forget_expired()
    whose, which = data.draw(st.sampled_from([None, *OWNERS])), data.draw(st.sampled_from([None, *MODELS]))
    statuses = data.draw(st.lists(st.sampled_from(list(ScanStatus)), unique=True, max_size=3))
    size = data.draw(st.integers(1, 4))
    assert _ids(store, size, whose, which, statuses) == model.ids(whose, which, statuses)
    counted = {status: len(model.ids(whose, None, [status])) for status in ScanStatus}
    assert store.index.count(whose) == counted
    assert store.active() == sorted(i for i, (_, _, status) in model.scans.items() if not status.final)
    _assert_nothing_else_is_kept(redis, model)


def _move(store: Store, scan_id: str, what: str, to: ScanStatus) -> bool:
    if what == "advance":
        return store.advance(scan_id, to, *UNFINISHED)
    if what == "finish":
        return store.finish(scan_id, example_report(scan_id))
    return store.cancel(scan_id) if what == "cancel" else store.fail(scan_id, PROBLEM)


def _expire(redis: Any, scan_id: str, status: ScanStatus) -> None:
    """As if the retention time had passed."""
    if status.final:
        redis.delete(f"tf:scan:{scan_id}")
        for member in redis.zrange(EXPIRING, 0, -1):
            if member.split()[1].decode().endswith(f":{scan_id}"):
                redis.zadd(EXPIRING, {member: 1.0})


def _ids(
    store: Store, size: int, owner: str | None, model: str | None, statuses: list[ScanStatus], **more: Any
) -> list[str]:
    found, before = [], None
    while rows := store.page(size, before, owner=owner, model=model, statuses=statuses, **more):
        assert len(rows) <= size
        found += [row.id for row in rows]
        before = rows[-1].created_at, rows[-1].id
    return found


def _assert_nothing_else_is_kept(redis: Any, model: Model) -> None:
    """No index holds a scan that is gone or that has moved on."""
    for key in [*redis.scan_iter("tf:all*"), *redis.scan_iter("tf:owned:*")]:
        for place in redis.zrange(key, 0, -1):
            status = model.scans[place.decode().partition(":")[2]][2]
            last = key.decode().rpartition(":")[2]
            assert last == status.value or last not in list(ScanStatus)


def test_a_page_is_full_though_rows_have_expired(store: Store, redis: Any) -> None:
    for number in range(9):
        store.create(f"scan_{number}", ScanRequest(model="org/a"), "local")
    for number in (1, 2, 4, 7, 8):
        redis.delete(f"tf:scan:scan_{number}")
    assert [row.id for row in store.page(3)] == ["scan_6", "scan_5", "scan_3"]


def test_a_walk_sees_each_scan_once_while_scans_come_and_go(store: Store, redis: Any) -> None:
    """What was there at the start and is still there at the end is seen exactly once."""
    for number in range(30):
        store.create(f"old_{number:02}", ScanRequest(model="org/a"), "local")
    seen: list[str] = []
    before = None
    for step in itertools.count():
        rows = store.page(4, before)
        if not rows:
            break
        seen += [row.id for row in rows]
        before = rows[-1].created_at, rows[-1].id
        store.create(f"new_{step}", ScanRequest(model="org/a"), "local")
        redis.delete(f"tf:scan:{rows[-1].id}")  # the very scan that the cursor names
        redis.zremrangebyrank("tf:all", 0, 0)
    assert len(seen) == len(set(seen))
    assert seen == [f"old_{number:02}" for number in range(29, 29 - len(seen), -1)]
    assert len(seen) >= 20


def test_since(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 20.0, 20.000001, 30.0])
    monkeypatch.setattr("tokenforce_core.scans.store.time.time", lambda: next(ticks))
    for name in "abcd":
        store.create(name, ScanRequest(model="org/a"), "local")
    assert [row.id for row in store.page(9, since=20.0)] == ["d", "c", "b"]
    assert [row.id for row in store.page(9, since=20.000001)] == ["d", "c"]
    assert [row.id for row in store.page(9, (30.0, "d"), since=20.0)] == ["c", "b"]
    assert store.page(9, since=31.0) == []
    assert len(store.page(9, since=-5.0)) == 4


def test_a_page_reads_no_plan(store: Store, redis: Any) -> None:
    """A plan is as long as the vocabulary: a page or a poll that read it would move megabytes."""
    for number in range(20):
        store.create(f"scan_{number}", ScanRequest(model="org/a"), "local")
        redis.hset(f"tf:scan:scan_{number}", "plan", "x" * 1_000_000)
    before = redis.info("stats")["total_net_output_bytes"]
    store.page(20)
    store.row("scan_3")
    assert redis.info("stats")["total_net_output_bytes"] - before < 20_000
