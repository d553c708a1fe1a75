"""The store on a real server: everything happens once, final states stay."""

from __future__ import annotations

import math
import threading

import pytest
from redis import Redis

from tokenforce.wire.problems import Problem
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.scans.store import Store

REQUEST = ScanRequest(model="/models/m")
PROBLEM = Problem(title="t", status=500, detail="d", code="engine_failed")


def swept(forced: int, score: float, context: int = 0) -> Trace:
    log_p = (math.log(score),) * 2
    return Trace(context, forced, (1, 2), log_p, ended=True, sweep_score=score, text="text", forced_text="forced")


@pytest.fixture
def scan(store: Store) -> str:
    store.create("scan_1", REQUEST, "local")
    store.advance("scan_1", ScanStatus.sweeping, ScanStatus.queued)
    return "scan_1"


def test_a_shard_that_runs_twice_counts_once(store: Store, scan: str) -> None:
    first = store.work.commit_shard(scan, 0, 0, [swept(5, 0.9)], entries=100, tokens=250, keep=10)
    again = store.work.commit_shard(scan, 0, 0, [swept(6, 0.95)], entries=100, tokens=260, keep=10)
    assert (first, again) == (1, 1)
    row = store.row(scan)
    assert row is not None
    assert (row.entries_done, row.forward_tokens) == (100, 250)
    assert [item.forced_id for item in store.work.swept(scan)] == [5]


def test_commits_from_many_workers_all_count(store: Store, scan: str) -> None:
    def commit(index: int) -> None:
        store.work.commit_shard(scan, index % 20, 0, [swept(index % 20, 0.9)], entries=10, tokens=20, keep=5)

    threads = [threading.Thread(target=commit, args=(index,)) for index in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row = store.row(scan)
    assert row is not None
    assert row.entries_done == 200
    assert store.work.committed_shards(scan) == set(range(20))


def test_the_kth_best_is_known_once_there_are_k(store: Store, scan: str) -> None:
    store.work.commit_shard(scan, 0, 0, [swept(1, 0.9), swept(2, 0.8)], entries=1, tokens=1, keep=3)
    assert store.work.kth_best(scan, 0, keep=3) == 0.0
    store.work.commit_shard(scan, 1, 0, [swept(3, 0.85), swept(4, 0.95)], entries=1, tokens=1, keep=3)
    assert store.work.kth_best(scan, 0, keep=3) == pytest.approx(0.85)
    assert store.work.kth_best(scan, 1, keep=3) == 0.0  # another context has its own


def test_uncommitted_progress_gives_way_to_the_commit(store: Store, scan: str) -> None:
    store.work.note_progress(scan, "0", 40, 90)
    row = store.row(scan)
    assert row is not None
    assert row.live == {"0": (40, 90)}
    store.work.commit_shard(scan, 0, 0, [], entries=100, tokens=250, keep=3)
    row = store.row(scan)
    assert row is not None
    assert row.live == {}


@pytest.mark.parametrize("final", ["cancel", "fail"])
def test_a_final_status_never_changes(store: Store, scan: str, final: str) -> None:
    assert store.cancel(scan) if final == "cancel" else store.fail(scan, PROBLEM)
    assert not store.cancel(scan)
    assert not store.fail(scan, PROBLEM)
    assert not store.advance(scan, ScanStatus.sweeping, ScanStatus.planning, ScanStatus.queued)
    row = store.row(scan)
    assert row is not None
    assert row.status is (ScanStatus.cancelled if final == "cancel" else ScanStatus.failed)
    assert (row.error is None) == (final == "cancel")
    assert store.active() == []


def test_final_scans_expire_and_active_ones_do_not(redis: Redis, scan: str) -> None:
    store = Store(redis, retention_seconds=500)
    assert redis.ttl(f"tf:scan:{scan}") == -1
    store.cancel(scan)
    ttl = redis.ttl(f"tf:scan:{scan}")
    assert isinstance(ttl, int)
    assert 0 < ttl <= 500


def test_of_a_succeeded_scan_only_the_report_is_kept(store: Store, redis: Redis, scan: str) -> None:
    """Its findings are the report's; the others' parts are all that is known of them."""
    parts = [f"tf:scan:{scan}:{part}" for part in ("shards", "contrast", "confirmed")]
    for part in parts:
        redis.hset(part, "0", "[]")
    store.settle(scan)
    assert redis.exists(*parts) == 3
    store.advance(scan, ScanStatus.aggregating, ScanStatus.sweeping)
    redis.hset(f"tf:scan:{scan}", "status", "succeeded")
    store.settle(scan)
    assert redis.exists(*parts) == 0


def test_work_that_comes_after_the_end_changes_and_leaves_nothing(store: Store, redis: Redis, scan: str) -> None:
    """A worker that finishes its shard just after a cancel."""
    store.cancel(scan)
    store.work.note_progress(scan, "0", 5, 5)
    assert store.work.commit_shard(scan, 0, 0, [swept(1, 0.9)], entries=10, tokens=10, keep=3) == 0
    store.note_engine(scan, {"vllm": "0"})
    store.work.commit_confirmed(scan, [], 3)
    assert store.work.confirmed(scan) is None
    row = store.row(scan)
    assert row is not None
    assert (row.entries_done, row.forward_tokens, row.live) == (0, 0, {})
    forever = [key for key in redis.scan_iter("tf:scan:*") if redis.ttl(key) == -1]
    assert forever == []


def test_pauses_do_not_slow_the_rate(store: Store, scan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("tokenforce_core.scans.store.time.time", lambda: now[0])
    for step in (0, 2, 2, 3600, 2):  # a restart took an hour
        now[0] += step
        store.work.note_progress(scan, "0", 1, 1)
    row = store.row(scan)
    assert row is not None
    assert row.busy_seconds == pytest.approx(6)


def test_a_failed_scan_is_never_seen_without_its_error(
    store: Store, scan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the process dies right after the one command that fails it."""

    def die(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "settle", die)
    with pytest.raises(KeyboardInterrupt):
        store.fail(scan, PROBLEM)
    row = store.row(scan)
    assert row is not None
    assert row.error == PROBLEM
