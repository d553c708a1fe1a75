"""A Redis that is gone, or full: 503 with `Retry-After`, and everything goes on when it is back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import httpx
import pytest
from redis import Redis

from tests.support.refusing_service import Service, assert_problem, running_service
from tests.support.stack_process import wait_until
from tokenforce.wire.problems import ErrorCode

NEEDING_REDIS: dict[str, Callable[[Service, str], httpx.Response]] = {
    "create": lambda service, scan_id: service.scan(),
    "list": lambda service, scan_id: service.http.get("/v1/scans"),
    "get": lambda service, scan_id: service.http.get(f"/v1/scans/{scan_id}"),
    "findings": lambda service, scan_id: service.http.get(f"/v1/scans/{scan_id}/findings"),
    "report": lambda service, scan_id: service.http.get(f"/v1/scans/{scan_id}/report"),
    "cancel": lambda service, scan_id: service.http.delete(f"/v1/scans/{scan_id}"),
    "readyz": lambda service, scan_id: service.http.get("/readyz"),
    "metrics": lambda service, scan_id: service.http.get("/metrics"),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("outage")) as running:
        yield running


@pytest.fixture
def admin(service: Service) -> Iterator[Redis]:
    with Redis.from_url(service.server.url) as connection:
        yield connection


def assert_full(answer: httpx.Response) -> None:
    assert_problem(answer, 503, ErrorCode.storage_full, "free some space and try again")


def listed(service: Service) -> list[str]:
    return [scan["id"] for scan in service.http.get("/v1/scans", params={"limit": 200}).json()["items"]]


def test_redis_is_gone_and_comes_back(service: Service) -> None:
    before = [service.accepted() for _ in range(3)]
    service.server.stop()
    try:
        for name, ask in NEEDING_REDIS.items():
            answer = ask(service, before[0])
            problem = assert_problem(
                answer, 503, ErrorCode.store_unavailable, "Redis cannot be reached; nothing was lost"
            )
            assert int(answer.headers["Retry-After"]) > 0, name
            assert "valkey.sock" not in problem["detail"]
        assert service.http.get("/healthz").json() == {"status": "ok"}
    finally:
        service.server.start(service.folder / "valkey.log")
    assert service.http.get("/readyz").json() == {"status": "ready"}
    assert listed(service) == before[::-1]
    assert service.http.get(f"/v1/scans/{before[0]}").json()["status"] == "queued"
    after = service.accepted()
    assert service.http.delete(f"/v1/scans/{before[0]}").json()["status"] == "cancelled"
    assert listed(service) == [after, *before[::-1]]


def test_idle_connections_survive_a_restart(service: Service) -> None:
    """The first request after a restart that nobody noticed is no error."""
    service.accepted()
    service.server.stop()
    service.server.start(service.folder / "valkey.log")
    service.accepted()


def test_redis_does_not_answer(service: Service, admin: Redis) -> None:
    """A server that hangs is the same as none, after a few seconds."""
    scan_id = service.accepted()
    process_id = admin.info("server")["process_id"]
    os.kill(process_id, signal.SIGSTOP)
    try:
        answer = service.http.get(f"/v1/scans/{scan_id}", timeout=15)
        assert_problem(answer, 503, ErrorCode.store_unavailable, "Try again shortly")
        assert service.http.get("/healthz").status_code == 200
    finally:
        os.kill(process_id, signal.SIGCONT)
    service.accepted()


def test_out_of_memory(service: Service, admin: Redis) -> None:
    scan_id, before = service.accepted(), listed(service)
    admin.config_set("maxmemory", 1)  # the server's policy is `noeviction`: it refuses what needs memory
    try:
        assert_full(service.scan())
        assert_full(service.http.delete(f"/v1/scans/{scan_id}"))
        assert service.http.get(f"/v1/scans/{scan_id}").json()["status"] == "queued"
        assert listed(service) == before
    finally:
        admin.config_set("maxmemory", 0)
    service.accepted()
    assert service.http.delete(f"/v1/scans/{scan_id}").status_code == 202


def test_full_disk(service: Service, admin: Redis) -> None:
    """A snapshot that cannot be written has the same effect as a full disk: Redis refuses to write (MISCONF)."""
    scan_id, before = service.accepted(), listed(service)
    in_the_way = service.folder / "valkey" / "dump.rdb"

    def snapshot(status: str) -> None:
        admin.bgsave()
        wait_until(lambda: admin.info("persistence")["rdb_bgsave_in_progress"] == 0, 20)
        assert admin.info("persistence")["rdb_last_bgsave_status"] == status

    in_the_way.mkdir()
    admin.config_set("save", "3600 1000000")
    snapshot("err")
    try:
        assert_full(service.scan())
        assert_full(service.http.delete(f"/v1/scans/{scan_id}"))
        assert_full(service.http.get("/readyz"))
        assert service.http.get(f"/v1/scans/{scan_id}").json()["status"] == "queued"
        assert listed(service) == before
    finally:
        in_the_way.rmdir()
        snapshot("ok")
        admin.config_set("save", "")
    assert service.http.get("/readyz").status_code == 200
    service.accepted()
