"""How many scans a key and the whole service take at once, and in which order: over HTTP on a real Valkey."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.keys import bearer
from tests.support.traffic import Gateway, gateway, tiny
from tokenforce.wire.keys import Scope
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce_core.queues.jobs import CONTROL_QUEUE, JobName, enqueue, queue
from tokenforce_core.scans.store import Store
from tokenforce_service.access.quotas import Quotas
from tokenforce_service.refusals import Refusal
from tokenforce_service.scans.reaper import Reaper
from tokenforce_service.scans.start import start_scan
from tokenforce_service.settings import ServiceSettings

__all__ = ["gateway", "tiny"]


def start(http: TestClient, tiny: Path, **more: Any) -> Any:
    options = {name: more.pop(name) for name in ("headers",) if name in more}
    return http.post("/v1/scans", json={"model": str(tiny), **more}, **options)


def assert_put_off(answer: Any, status: int, code: ErrorCode, says: str) -> int:
    """The answer is this problem and names a time, which is returned."""
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert says in answer.json()["detail"]
    return int(answer.headers["Retry-After"])


def test_a_key_has_only_so_many_scans_at_once(gateway: Gateway, tiny: Path, redis: Redis, store: Store) -> None:
    http = gateway(active_scans_per_key=2)
    first = start(http, tiny).json()["id"]
    assert start(http, tiny).status_code == 202
    assert assert_put_off(start(http, tiny), 429, ErrorCode.quota_exceeded, "limit of active scans (2)") > 0
    assert start(http, tiny, headers=bearer(redis)).status_code == 202  # another key, even of the same owner
    store.cancel(first)
    assert start(http, tiny).status_code == 202


def test_a_key_has_only_so_many_scans_a_day(gateway: Gateway, tiny: Path, redis: Redis, store: Store) -> None:
    key = bearer(redis)
    http = gateway(headers=key, scans_per_key_and_day=1)
    store.cancel(start(http, tiny).json()["id"])
    seconds = assert_put_off(start(http, tiny), 429, ErrorCode.quota_exceeded, "limit of scans per day (1)")
    assert 0 < seconds <= 86400
    assert abs((time.time() + seconds) % 86400) < 2 or abs((time.time() + seconds) % 86400 - 86400) < 2
    (quota,) = [name for name in redis.keys("tf:quota:*") if redis.type(name) == b"hash"]
    redis.hincrby(quota, "day", -1)  # yesterday
    assert start(http, tiny).status_code == 202


def test_a_refused_model_costs_no_quota(gateway: Gateway, tiny: Path) -> None:
    http = gateway(scans_per_key_and_day=1)
    assert start(http, tiny / "missing").status_code == 422
    assert start(http, tiny).status_code == 202


def test_the_last_place_is_given_once(redis: Redis) -> None:
    quotas = Quotas(redis, ServiceSettings(active_scans_per_key=5, max_active_scans=8))

    def claim(number: int) -> bool:
        try:
            return quotas.claim(f"scan_{number}", f"key_{number % 2}")
        except Refusal:
            return False

    with ThreadPoolExecutor(20) as threads:
        assert sum(threads.map(claim, range(40))) == 8


def test_too_many_scans_of_all_keys_put_new_ones_off(gateway: Gateway, tiny: Path, redis: Redis) -> None:
    http = gateway(max_active_scans=1)
    assert start(http, tiny).status_code == 202
    assert assert_put_off(start(http, tiny, headers=bearer(redis)), 503, ErrorCode.overloaded, "1 scans are active") > 0


def test_too_many_waiting_shards_put_new_scans_off(gateway: Gateway, tiny: Path, redis: Redis) -> None:
    http = gateway(max_waiting_shards=3)
    for shard in range(3):
        assert start(http, tiny).status_code == 202
        enqueue(redis, "scan.a", JobName.sweep, "scan_a", shard, timeout=60)
    assert_put_off(start(http, tiny), 503, ErrorCode.overloaded, "3 shards are waiting")


def test_a_claim_whose_gateway_died_is_given_back(redis: Redis, store: Store) -> None:
    quotas = Quotas(redis, ServiceSettings(active_scans_per_key=1))
    assert quotas.claim("scan_lost", "k")
    Reaper(store).reap()
    assert quotas.claim("scan_next", "k")


def test_an_interrupted_start_is_completed_once(redis: Redis, store: Store, tiny: Path) -> None:
    """A gateway died after storing the scan and before queueing it; the request comes again with the same id."""
    from tokenforce_service.access.callers import Caller

    settings = ServiceSettings(model_roots=[tiny.parent], active_scans_per_key=1)
    caller, request = Caller("local", "k", frozenset({Scope.scans_write})), ScanRequest(model=str(tiny))
    store.create("scan_1", request, "local")
    for _ in range(2):
        start_scan(request, "scan_1", caller, settings, store)
    assert queue(CONTROL_QUEUE, redis).job_ids == ["scan_1-plan"]
    store.advance("scan_1", ScanStatus.planning, ScanStatus.queued)
    start_scan(request, "scan_1", caller, settings, store)
    assert store.status("scan_1") is ScanStatus.planning


def test_high_needs_an_admin_and_is_planned_first(gateway: Gateway, tiny: Path, redis: Redis) -> None:
    http = gateway()
    normal = start(http, tiny).json()
    high = start(http, tiny, priority="high").json()
    assert (normal["request"]["priority"], high["request"]["priority"]) == ("normal", "high")
    assert queue(CONTROL_QUEUE, redis).job_ids == [f"{high['id']}-plan", f"{normal['id']}-plan"]
    plain = bearer(redis, Scope.scans_write)
    refused = start(http, tiny, priority="high", headers=plain)
    assert (refused.status_code, refused.json()["code"]) == (403, ErrorCode.scope_missing)
    assert start(http, tiny, priority="low", headers=plain).status_code == 202


@pytest.mark.parametrize("priority", ["urgent", 1, None])
def test_an_unknown_priority_is_refused(gateway: Gateway, tiny: Path, priority: object) -> None:
    answer = start(gateway(), tiny, priority=priority)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/body/priority")
