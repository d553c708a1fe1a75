"""The gateway in-process on a real Valkey, asked by the SDK that we ship: an API change that breaks it fails here."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.keys import bearer
from tests.support.scan_results import VOCABULARY, confirmed, example_plan, example_report, swept
from tests.support.tiny_model import build_tiny_model
from tokenforce import Client
from tokenforce.sdk.errors import Conflict, InvalidRequest, NotFound, Refused
from tokenforce.wire.scans import CustomContext, Order, ScanRequest, ScanStatus
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.queues.jobs import CONTROL_QUEUE, JobName, queue
from tokenforce_core.scans.stages import start_first_stage
from tokenforce_core.scans.store import Store
from tokenforce_service.app import create_app
from tokenforce_service.settings import ServiceSettings


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    build_tiny_model(folder / "tiny", planted=None)
    return folder


@pytest.fixture
def http(redis: Redis, root: Path) -> Iterator[TestClient]:
    app = create_app(ServiceSettings(model_roots=[root]), redis)
    with TestClient(app, headers=bearer(redis)) as client:
        yield client


@pytest.fixture
def sdk(http: TestClient) -> Iterator[Client]:
    # Starlette's client is one of httpx's successor, which has the same interface.
    with Client(http_client=cast(Any, http)) as client:
        yield client


def sweeping(store: Store, scan_id: str = "scan_1") -> str:
    """A scan that the planner has planned."""
    store.create(scan_id, ScanRequest(model="/models/example"), "local")
    store.advance(scan_id, ScanStatus.planning, ScanStatus.queued)
    start_first_stage(store, scan_id, example_plan())
    return scan_id


def commit(store: Store, scan_id: str, shard: int, *found: Trace) -> None:
    store.work.commit_shard(scan_id, shard, 0, list(found), entries=16, tokens=40, keep=100)


def confirm(store: Store, scan_id: str, *found: Trace) -> None:
    store.advance(scan_id, ScanStatus.confirming, ScanStatus.sweeping)
    store.work.commit_confirmed(scan_id, list(found), 60)
    store.advance(scan_id, ScanStatus.aggregating, ScanStatus.confirming)


def test_the_document_is_served(http: TestClient) -> None:
    served = http.get("/openapi.json").json()
    document = create_app(ServiceSettings()).openapi()
    assert served == document


def test_a_post_is_carried_out_once(http: TestClient) -> None:
    """Each takes an Idempotency-Key; but those of senders that know none, whose events have names of their own."""
    without = {"/v1/hooks/huggingface": "X-Webhook-Secret", "/v1/hooks/upload": "webhook-id"}
    posts = {
        path: operations["post"]
        for path, operations in http.get("/openapi.json").json()["paths"].items()
        if "post" in operations
    }
    assert set(without) < set(posts)
    for path, operation in posts.items():
        headers = {item["name"] for item in operation["parameters"] if item["in"] == "header"}
        assert without.get(path, "Idempotency-Key") in headers, path
        assert {"400", "409", "422"} <= set(operation["responses"]) or path in without, path


# --- create and get -----------------------------------------------------------------------------------


def test_create(sdk: Client, http: TestClient, redis: Redis, root: Path) -> None:
    context = CustomContext(name="story", text="Once")
    scan = sdk.scans.create(model=str(root / "tiny"), contexts=["bos", context], alpha=8)
    assert scan.status is ScanStatus.queued
    wanted = ScanRequest(model=str(root / "tiny"), contexts=["bos", context], alpha=8)
    assert scan.request.model_dump() == wanted.model_dump()
    assert sdk.scans.get(scan.id) == scan
    job = queue(CONTROL_QUEUE, redis).jobs[0]
    assert (job.func_name, job.args) == (JobName.plan, [scan.id])


def test_location_of_a_new_scan(http: TestClient, root: Path) -> None:
    answer = http.post("/v1/scans", json={"model": str(root / "tiny")})
    assert answer.status_code == 202
    assert answer.headers["Location"] == answer.json()["links"]["self"] == f"/v1/scans/{answer.json()['id']}"
    assert int(answer.headers["Retry-After"]) > 0
    assert http.get(answer.headers["Location"]).json() == answer.json()


def test_refusals_are_typed(sdk: Client, root: Path) -> None:
    with pytest.raises(Refused, match="There is no folder") as refused:
        sdk.scans.create(model=str(root / "none"))
    assert refused.value.code == "model_not_found"
    assert refused.value.request_id
    with pytest.raises(InvalidRequest, match="use standard or paper"):
        sdk.scans.create(model=str(root / "tiny"), preset="thorough")
    with pytest.raises(NotFound, match="There is no scan none"):
        sdk.scans.get("none")


def test_an_etag_stands_until_something_changes(http: TestClient, store: Store) -> None:
    scan_id = sweeping(store)
    url = f"/v1/scans/{scan_id}"
    first = http.get(url)
    same = http.get(url, headers={"If-None-Match": f'"other", {first.headers["ETag"]}'})
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["ETag"] == first.headers["ETag"]
    assert int(same.headers["Retry-After"]) > 0
    store.work.note_progress(scan_id, "0", 5, 20)
    assert http.get(url, headers={"If-None-Match": "*"}).status_code == 304
    changed = http.get(url, headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200
    assert changed.json()["progress"]["done"] == 5
    assert changed.headers["ETag"] != first.headers["ETag"]
    store.cancel(scan_id)
    last = http.get(url, headers={"If-None-Match": changed.headers["ETag"]})
    assert last.status_code == 200
    assert "Retry-After" not in last.headers


def test_a_poll_is_one_round_trip(http: TestClient, store: Store, redis: Any) -> None:
    """Answered by 200 or by 304, and whatever the size of the plan."""
    url = f"/v1/scans/{sweeping(store)}"
    etag = http.get(url).headers["ETag"]  # its key is remembered from here on

    def reads() -> int:
        return int(redis.info("stats")["total_reads_processed"])

    alone = -reads() + reads()
    before = reads()
    assert http.get(url).status_code == 200
    assert http.get(url, headers={"If-None-Match": etag}).status_code == 304
    assert reads() - before == 2 + alone


# --- lists --------------------------------------------------------------------------------------------


def test_pages_of_scans(sdk: Client, http: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newest first, each once, though several were created at the same moment."""
    ticks = itertools.count()
    clock = SimpleNamespace(time=lambda: 1000.0 + next(ticks) // 7)
    monkeypatch.setattr("tokenforce_core.scans.store.time", clock)
    for number in (5, 3, 9, 0, 7, 1, 8, 2, 6, 4, 11, 10, 13, 12):
        store.create(f"scan_{number:02}", ScanRequest(model="org/name"), "local")
    found = list(sdk.scans.iter(page_size=3))
    assert [(s.created_at, s.id) for s in found] == sorted(((s.created_at, s.id) for s in found), reverse=True)
    assert len({scan.id for scan in found}) == 14
    assert [scan.id for scan in sdk.scans.iter(page_size=14)] == [scan.id for scan in found]
    assert http.get("/v1/scans", params={"limit": 14}).json()["next_cursor"] is None


def test_a_scan_created_meanwhile_shifts_no_page(http: TestClient, store: Store) -> None:
    for number in range(4):
        store.create(f"scan_{number}", ScanRequest(model="org/name"), "local")
    page = http.get("/v1/scans", params={"limit": 2}).json()
    store.create("scan_new", ScanRequest(model="org/name"), "local")
    following = http.get("/v1/scans", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert [scan["id"] for scan in page["items"] + following["items"]] == ["scan_3", "scan_2", "scan_1", "scan_0"]


def test_no_scans_and_no_findings(sdk: Client, store: Store) -> None:
    assert list(sdk.scans.iter()) == []
    store.create("scan_1", ScanRequest(model="org/name"), "local")
    assert list(sdk.scans.findings("scan_1")) == []


# --- findings and report ------------------------------------------------------------------------------


def test_findings_while_it_sweeps(sdk: Client, http: TestClient, store: Store) -> None:
    """Partial, unconfirmed, and the same whatever order the shards come in."""
    scan_id = sweeping(store)
    commit(store, scan_id, 2, swept(40, 0.90), swept(33, 0.99))
    commit(store, scan_id, 0, swept(3, 0.95), swept(1, 0.90))
    found = list(sdk.scans.findings(scan_id, page_size=1))
    assert [(f.rank, f.forced_token.id) for f in found] == [(1, 33), (2, 3), (3, 1), (4, 40)]
    assert not any(f.confirmed for f in found)
    assert http.get(f"/v1/scans/{scan_id}/findings").json()["partial"] is True
    assert sdk.scans.get(scan_id).progress.done == 32
    assert sdk.scans.get(scan_id).progress.total == VOCABULARY


def test_the_two_orders_of_the_findings(sdk: Client, store: Store) -> None:
    scan_id = sweeping(store)
    found = [confirmed(i, 0.9 + i / 1000, share=(i * 7 % 10) / 10) for i in range(10)]
    confirm(store, scan_id, *found, confirmed(50, 0.999, share=1.0, degenerate=True))
    by_probability = list(sdk.scans.findings(scan_id, page_size=3))
    by_repetition = list(sdk.scans.findings(scan_id, order=Order.repetition, page_size=3))
    assert [f.forced_token.id for f in by_probability] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 50]
    assert [f.repetition.share for f in by_repetition[:-1]] == [i / 10 for i in range(9, -1, -1)]
    assert by_repetition[-1].degenerate
    for listed in (by_probability, by_repetition):
        assert [f.rank for f in listed] == list(range(1, 12))
        assert all(f.confirmed for f in listed)


def test_a_cursor_belongs_to_its_order(http: TestClient, store: Store) -> None:
    scan_id = sweeping(store)
    confirm(store, scan_id, confirmed(1, 0.9), confirmed(2, 0.95))
    url = f"/v1/scans/{scan_id}/findings"
    cursor = http.get(url, params={"limit": 1}).json()["next_cursor"]
    assert http.get(url, params={"limit": 1, "cursor": cursor}).json()["next_cursor"] is None
    assert http.get(url, params={"cursor": cursor, "order": "repetition"}).json()["code"] == "invalid_cursor"


def test_report(sdk: Client, store: Store) -> None:
    scan_id = sweeping(store)
    confirm(store, scan_id, confirmed(1, 0.9))
    with pytest.raises(Conflict, match="not ended; poll it"):
        sdk.scans.report(scan_id)
    assert "report" not in sdk.scans.get(scan_id).links
    report = example_report(scan_id)
    assert store.finish(scan_id, report)
    assert sdk.scans.report(scan_id) == report
    scan = sdk.scans.wait(scan_id, timeout=5)
    assert scan.status is ScanStatus.succeeded
    assert scan.verdict is report.verdict
    assert scan.finished_at
    assert scan.links["report"] == f"/v1/scans/{scan_id}/report"


# --- cancel -------------------------------------------------------------------------------------------


def test_what_a_cancelled_scan_found_stays_readable(sdk: Client, http: TestClient, store: Store) -> None:
    scan_id = sweeping(store)
    commit(store, scan_id, 0, swept(3, 0.95))
    assert sdk.scans.cancel(scan_id).status is ScanStatus.cancelled
    assert [f.forced_token.id for f in sdk.scans.findings(scan_id)] == [3]
    assert http.get(f"/v1/scans/{scan_id}/findings").json()["partial"] is False
    assert sdk.scans.cancel(scan_id).status is ScanStatus.cancelled
    with pytest.raises(Conflict, match="was cancelled; read its findings"):
        sdk.scans.report(scan_id)
