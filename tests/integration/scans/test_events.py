"""Server-sent events over real sockets: a gateway process, real Valkey, and the SDK that we ship."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest
from redis import Redis

from tests.support.keys import bearer, bearing, made
from tests.support.refusing_service import Service, running_service
from tests.support.scan_results import example_plan, example_report, swept
from tests.support.stack_process import gateway, wait_until
from tokenforce import AsyncClient, Client, EventKind, NotFound, ScanEvent, ScanStatus
from tokenforce.sdk.errors import InvalidRequest, ServiceUnavailable
from tokenforce.sdk.events import EventParser
from tokenforce.wire.keys import Scope
from tokenforce.wire.scans import ScanRequest
from tokenforce_core.scans.events import OF_ONE_SCAN, PROGRESS_SECONDS, ScanChange, events_of_scan
from tokenforce_core.scans.stages import start_first_stage
from tokenforce_core.scans.store import Store
from tokenforce_service.access.key_store import KeyStore
from tokenforce_service.scans.event_streams import EventStreams


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("events"), TOKENFORCE_STREAMS_PER_KEY="3") as running:
        yield running


@pytest.fixture
def sdk(service: Service) -> Iterator[Client]:
    with httpx.Client(base_url=service.http.base_url, headers=key(service)) as http, Client(http_client=http) as client:
        yield client


@pytest.fixture
def scan(service: Service, request: pytest.FixtureRequest) -> str:
    """A scan that the planner has planned."""
    scan_id = f"scan_{abs(hash(request.node.name))}"
    service.store.create(scan_id, ScanRequest(model="org/a"), "local")
    service.store.advance(scan_id, ScanStatus.planning, ScanStatus.queued)
    start_first_stage(service.store, scan_id, example_plan())
    return scan_id


def key(service: Service, *scopes: Scope, owner: str = "local") -> dict[str, str]:
    return bearer(service.store.connection, *scopes, owner=owner)


def end(store: Store, scan_id: str) -> None:
    store.work.commit_shard(scan_id, 0, 0, [swept(3, 0.95)], entries=16, tokens=40, keep=100)
    store.advance(scan_id, ScanStatus.aggregating, ScanStatus.sweeping)
    assert store.finish(scan_id, example_report(scan_id))


def told(events: list[ScanEvent]) -> list[str]:
    return [event.status.value for event in events if event.kind == EventKind.status]


LIFE = ["queued", "planning", "sweeping", "aggregating", "succeeded"]


def test_the_life_of_a_scan(service: Service, sdk: Client, scan: str) -> None:
    """Past events first, then those to come, and the stream ends with the scan."""
    found: list[ScanEvent] = []
    reader = threading.Thread(target=lambda: found.extend(sdk.scans.events(scan)))
    reader.start()
    wait_until(lambda: len(found) >= 3 or not reader.is_alive(), 20)
    service.store.work.note_progress(scan, "1", 5, 20)
    service.store.work.note_progress(scan, "1", 6, 24)  # within a second of the other: not told
    end(service.store, scan)
    reader.join(20)
    assert not reader.is_alive()
    assert told(found) == LIFE
    progress = [event.progress for event in found if event.kind == EventKind.progress]
    assert [(p.stage, p.done) for p in progress] == [(ScanStatus.sweeping, 5)]
    assert found[-1].verdict is not None
    assert len({event.id for event in found}) == len(found)
    assert found == list(sdk.scans.events(scan))
    assert found[-1].verdict == sdk.scans.get(scan).verdict


def test_resumed_anywhere_nothing_is_lost_or_told_twice(service: Service, sdk: Client, scan: str) -> None:
    end(service.store, scan)
    everything = list(sdk.scans.events(scan))
    for number, event in enumerate(everything):
        assert list(sdk.scans.events(scan, last_event_id=event.id)) == everything[number + 1 :]
    answer = service.http.get(f"/v1/scans/{scan}/events", headers={"Last-Event-ID": everything[-1].id})
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_stream_that_has_expired_before_its_scan(service: Service, sdk: Client, scan: str) -> None:
    end(service.store, scan)
    last = list(sdk.scans.events(scan))[-1]
    assert 0 < int(service.store.connection.ttl(events_of_scan(scan))) <= 3600
    service.store.connection.delete(events_of_scan(scan))
    assert list(sdk.scans.events(scan)) == [last]
    assert list(sdk.scans.events(scan, last_event_id="5-0")) == [last]
    assert list(sdk.scans.events(scan, last_event_id=last.id)) == []


def test_a_gateway_that_goes_away_loses_nothing(service: Service, scan: str) -> None:
    """The connection breaks in the middle of an event; the SDK goes on after the last whole one."""
    end(service.store, scan)
    real = service.http.base_url
    with (
        _cutting(str(real.host), real.port or 80, cut_after=(700, 900, 1500)) as url,
        httpx.Client(base_url=url, headers=key(service)) as http,
        Client(http_client=http) as client,
    ):
        assert told(list(client.scans.events(scan))) == LIFE


def test_the_async_client_sees_the_same(service: Service, sdk: Client, scan: str) -> None:
    end(service.store, scan)

    async def read() -> list[ScanEvent]:
        http = httpx.AsyncClient(base_url=service.http.base_url, headers=key(service))
        async with http, AsyncClient(http_client=http) as client:
            return [event async for event in client.scans.events(scan)]

    assert asyncio.run(read()) == list(sdk.scans.events(scan))


def test_all_events_of_an_owner(service: Service) -> None:
    """From now on, of the owner's scans only; an admin sees everybody's."""
    found: dict[str, list[str]] = {"ann": [], "bob": [], "root": []}
    ready = threading.Barrier(4)

    def read(owner: str, *scopes: Scope) -> None:
        headers = key(service, *scopes, owner=owner)
        with httpx.stream("GET", service.http.base_url.join("/v1/events"), headers=headers, timeout=20) as answer:
            parser, chunks = EventParser(), answer.iter_raw()
            assert next(iter(parser.feed(next(chunks)))).id  # where the stream begins
            ready.wait(20)
            for chunk in chunks:
                for event in parser.feed(chunk):
                    found[owner].append(ScanEvent.model_validate_json(event.data).scan_id)
                    if found[owner][-1].startswith("last"):
                        return

    readers = [("ann", Scope.scans_read), ("bob", Scope.scans_read), ("root", Scope.admin)]
    threads = [threading.Thread(target=read, args=reader) for reader in readers]
    for thread in threads:
        thread.start()
    ready.wait(20)
    for scan_id, owner in [("ann_1", "ann"), ("bob_1", "bob"), ("last_bob", "bob"), ("last_ann", "ann")]:
        service.store.create(scan_id, ScanRequest(model="org/a"), owner)
    for thread in threads:
        thread.join(20)
    assert found["ann"] == ["ann_1", "last_ann"]
    assert found["bob"] == ["bob_1", "last_bob"]
    assert found["root"] == ["ann_1", "bob_1", "last_bob"]


def test_another_owners_scan_has_no_events(service: Service, scan: str) -> None:
    headers = key(service, Scope.scans_read, owner="mallory")
    http = httpx.Client(base_url=service.http.base_url, headers=headers)
    with http, Client(http_client=http) as client, pytest.raises(NotFound):
        list(client.scans.events(scan))


@pytest.mark.parametrize("last", ["x", "1-", "-1", "1-2-3", "99999999999999999999999-0", "1_0-0"])
def test_an_id_that_is_none(sdk: Client, scan: str, last: str) -> None:
    with pytest.raises(InvalidRequest, match="connect without it") as error:
        list(sdk.scans.events(scan, last_event_id=last))
    assert error.value.code == "invalid_cursor"


def test_a_key_holds_so_many_streams_and_gets_them_back(service: Service, scan: str) -> None:
    """Callers that go away free their place at once, and another key has its own."""
    headers, redis = key(service), service.store.connection
    with contextlib.ExitStack() as stack:
        http = stack.enter_context(httpx.Client(base_url=service.http.base_url, headers=headers))
        chunks: list[Iterator[bytes]] = []
        for _ in range(3):
            answer = stack.enter_context(http.stream("GET", f"/v1/scans/{scan}/events"))
            assert answer.status_code == 200
            chunks.append(answer.iter_raw())  # a generator that goes away closes its connection
            next(chunks[-1])
        refused = http.get("/v1/events")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        assert int(refused.headers["Retry-After"]) > 0
        with httpx.stream("GET", service.http.base_url.join("/v1/events"), headers=key(service)) as other:
            assert other.status_code == 200
        wait_until(lambda: _blocked(redis) == 3, 20)
    wait_until(lambda: _blocked(redis) == 0, 3)  # they went away in the middle of a read that blocks
    with httpx.stream("GET", service.http.base_url.join("/v1/events"), headers=headers) as again:
        assert again.status_code == 200


@pytest.mark.parametrize("path", ["/v1/events", "/v1/scans/{scan}/events"])
@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_stream_does_not_outlive_its_key(service: Service, scan: str, path: str, how: str) -> None:
    redis = service.store.connection
    token = made(redis, expires_at=time.time() + 3 if how == "expired" else None)
    url = service.http.base_url.join(path.format(scan=scan))
    with httpx.stream("GET", url, headers=bearing(token), timeout=20) as answer:
        assert answer.status_code == 200
        chunks = answer.iter_raw()
        next(chunks)
        started = time.monotonic()
        if how == "revoked":
            KeyStore(redis).revoke(token.key_id)
        for _ in chunks:
            pass  # up to an end in order
    assert time.monotonic() - started < 10


def test_a_stream_ends_if_redis_goes_away_between_two_looks(
    redis: Redis, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The scan's row is read after a read of its events that brought none."""
    store.create("scan_1", ScanRequest(model="org/a"), "local")
    row = store.row("scan_1")
    assert row is not None

    async def followed() -> list[ScanChange]:
        streams = EventStreams("redis://127.0.0.1:1", 1)

        async def nothing(*_: object, **__: object) -> list[ScanChange]:
            return []

        async def good() -> bool:
            return True

        monkeypatch.setattr(streams, "_read", nothing)
        return [change async for change in streams.of_scan(row, "0-0", good)]

    assert asyncio.run(followed()) == []
    assert "an event stream ends" in caplog.text


def _blocked(redis: Redis) -> int:
    """How many callers wait for events, by what Redis says; each looks anew every second."""
    clients = redis.client_list(_type="normal")
    return len([each for each in clients if each["cmd"] == "xread"])


def test_a_slow_caller_holds_no_memory(service: Service, scan: str) -> None:
    """It reads nothing of what comes; the events wait in Redis, of which a stream keeps so many."""
    process = _process_at(service.http)
    path = f"/v1/scans/{scan}/events"
    with socket.create_connection((service.http.base_url.host, service.http.base_url.port or 80)) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        token = key(service)["Authorization"]
        lazy.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n".encode())
        time.sleep(1)
        before = process.memory_info().rss
        redis = service.store.connection
        entry = {"scan": scan, "kind": "progress", "now": 1.0, "status": "sweeping", "live:" + "x" * 20_000: "1 1"}
        for _ in range(3000):
            redis.xadd(events_of_scan(scan), entry, maxlen=OF_ONE_SCAN)  # type: ignore[arg-type]
        time.sleep(2)
        assert process.memory_info().rss - before < 20e6
        started = time.perf_counter()
        assert service.http.get("/healthz").status_code == 200
        assert time.perf_counter() - started < 5


def test_a_gateway_that_stops_does_not_wait_for_its_streams(service: Service, scan: str, tmp_path: Path) -> None:
    with gateway(tmp_path, service.server.url, tmp_path) as http:
        http.headers.update(key(service))
        process = next(
            p for p in psutil.process_iter() if any(c.laddr.port == http.base_url.port for c in _listening(p))
        )
        with http.stream("GET", f"/v1/scans/{scan}/events") as answer:
            chunks = answer.iter_raw()
            next(chunks)
            started = time.perf_counter()
            process.terminate()
            for _ in chunks:
                pass  # up to an end in order: a cut connection would raise
        process.wait(20)
        assert time.perf_counter() - started < 4.5  # uvicorn gives open connections 5 s


def _process_at(http: httpx.Client) -> psutil.Process:
    """The process that listens on the client's port."""
    port = http.base_url.port
    return next(p for p in psutil.process_iter() if any(c.laddr.port == port for c in _listening(p)))


def _listening(process: psutil.Process) -> list[Any]:
    try:
        return [c for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return []


def test_progress_is_told_once_a_second(
    service: Service, sdk: Client, scan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(2e9 + step * PROGRESS_SECONDS / 4 for step in range(100))
    with monkeypatch.context() as patched:
        patched.setattr("tokenforce_core.scans.work_store.time", SimpleNamespace(time=lambda: next(clock)))
        for done in range(17):
            service.store.work.note_progress(scan, "0", done, 2 * done)
    service.store.cancel(scan)
    progress = [event.progress.done for event in sdk.scans.events(scan) if event.kind == EventKind.progress]
    assert progress == [0, 4, 8, 12, 16]


def test_a_stream_is_bounded(service: Service, scan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 2))
    with monkeypatch.context() as patched:
        patched.setattr("tokenforce_core.scans.store.time", SimpleNamespace(time=lambda: 2e9 + next(clock)))
        for done in range(1500):
            service.store.work.note_progress(scan, "0", done, done)
    assert service.store.connection.xlen(events_of_scan(scan)) < OF_ONE_SCAN + 200


def test_an_unavailable_service_is_an_error_in_the_end(scan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenforce.sdk.retries.FIRST_PAUSE", 0.001)
    transport = httpx.MockTransport(lambda _: httpx.Response(503))
    http = httpx.Client(base_url="http://x", transport=transport)
    with http, Client(http_client=http) as client, pytest.raises(ServiceUnavailable):
        list(client.events())


@contextlib.contextmanager
def _cutting(host: str, port: int, cut_after: tuple[int, ...]) -> Iterator[str]:
    """A proxy that drops the first connections after so many bytes of an answer each; later ones are left whole."""
    server = socket.create_server(("127.0.0.1", 0))
    limits = iter(cut_after)

    def serve() -> None:
        while True:
            try:
                caller, _ = server.accept()
            except OSError:
                return
            left = next(limits, 10**9)
            with caller, socket.create_connection((host, port)) as upstream:
                upstream.sendall(caller.recv(65536))
                while left > 0 and (data := upstream.recv(65536)):
                    caller.sendall(data[:left])
                    left -= len(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)
