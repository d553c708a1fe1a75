"""`GET /v1/scans?status=&model=&since=` over the real app, and cursors that somebody has changed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis
from starlette.testclient import TestClient

from tests.support.keys import bearer
from tokenforce import Client, InvalidRequest
from tokenforce.wire.keys import Scope
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce_core.scans.store import Store
from tokenforce_service.app import create_app
from tokenforce_service.settings import ServiceSettings


@pytest.fixture
def http(redis: Redis) -> Iterator[TestClient]:
    with TestClient(create_app(ServiceSettings(), redis), headers=bearer(redis)) as client:
        yield client


@pytest.fixture
def scans(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve scans, one a minute from 2026-01-01T00:00:00Z: models a and b in turn, each third one cancelled."""
    clock = iter(range(1767225600, 1767226320, 60))
    with monkeypatch.context() as patched:
        patched.setattr("tokenforce_core.scans.store.time.time", lambda: float(next(clock)))
        for number in range(12):
            store.create(f"scan_{number:02}", ScanRequest(model="org/a" if number % 2 else "org/b@main"), "local")
    for number in range(0, 12, 3):
        store.cancel(f"scan_{number:02}")


def ids(http: TestClient, **params: Any) -> list[int]:
    """All pages of the list with these filters."""
    found: list[int] = []
    while True:
        answer = http.get("/v1/scans", params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= params.get("limit", 50)
        found += [int(scan["id"][5:]) for scan in page["items"]]
        if page["next_cursor"] is None:
            return found
        params["cursor"] = page["next_cursor"]


@pytest.mark.parametrize("limit", [1, 2, 5, 50])
def test_filters_and_all_of_them(http: TestClient, scans: None, limit: int) -> None:
    everything = list(range(11, -1, -1))
    assert ids(http, limit=limit) == everything
    assert ids(http, limit=limit, status="cancelled") == [9, 6, 3, 0]
    assert ids(http, limit=limit, status=["cancelled", "queued"]) == everything
    assert ids(http, limit=limit, status="failed") == []
    assert ids(http, limit=limit, model="org/b@main") == [10, 8, 6, 4, 2, 0]
    assert ids(http, limit=limit, model="org/b") == []
    assert ids(http, limit=limit, since="2026-01-01T00:09:00Z") == [11, 10, 9]
    assert ids(http, limit=limit, since="2026-01-01T01:09:00+01:00") == [11, 10, 9]
    assert ids(http, limit=limit, since="2026-01-01T00:09:00") == [11, 10, 9]
    assert ids(http, limit=limit, since="2026-01-01T00:05:00Z", model="org/a", status="queued") == [11, 7, 5]


def test_a_scan_that_moves_on_while_its_status_is_listed(http: TestClient, store: Store, scans: None) -> None:
    first = http.get("/v1/scans", params={"status": "cancelled", "limit": 2}).json()
    store.advance("scan_10", ScanStatus.planning, ScanStatus.queued)
    store.cancel("scan_10")  # newer than the cursor: belongs to the page before
    store.cancel("scan_04")
    assert ids(http, status="cancelled", limit=2, cursor=first["next_cursor"]) == [4, 3, 0]


def test_the_sdk_filters_alike(http: TestClient, scans: None) -> None:
    with Client(http_client=cast(Any, http)) as client:

        def found(**filters: Any) -> list[int]:
            return [int(scan.id[5:]) for scan in client.scans.iter(page_size=2, **filters)]

        assert found(status=ScanStatus.cancelled) == [9, 6, 3, 0]
        assert found(status=["cancelled", "failed"], model="org/a") == [9, 3]
        assert found(since=datetime(2026, 1, 1, 0, 9, tzinfo=UTC)) == [11, 10, 9]
        with pytest.raises(InvalidRequest):
            found(status="done")


def test_filters_see_only_the_owners_scans(http: TestClient, store: Store, redis: Redis, scans: None) -> None:
    store.create("scan_99", ScanRequest(model="org/a"), "ann")
    assert ids(http, model="org/a")[0] == 99  # the key of the fixture is an admin's
    http.headers.update(bearer(redis, Scope.scans_read, owner="ann"))
    assert ids(http) == ids(http, model="org/a", status="queued", limit=1) == [99]
    assert ids(http, model="org/b@main") == []
    http.headers.update(bearer(redis, Scope.scans_read))
    assert 99 not in ids(http)


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"status": "done"}, "/query/status"),
        ({"since": "yesterday"}, "/query/since"),
        ({"since": "1767225600"}, "/query/since"),
        ({"since": "0.5e3"}, "/query/since"),
        ({"model": "m" * 1025}, "/query/model"),
        ({"limit": 0}, "/query/limit"),
        ({"limit": 201}, "/query/limit"),
    ],
)
def test_filters_that_make_no_sense(http: TestClient, params: dict[str, Any], pointer: str) -> None:
    problem = http.get("/v1/scans", params=params).json()
    assert (problem["status"], problem["code"]) == (422, "invalid_request")
    assert problem["errors"][0]["pointer"].startswith(pointer)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=JSON, noise=st.text(max_size=60))
def test_cursors_that_somebody_changed(http: TestClient, parts: Any, noise: str) -> None:
    """A page from somewhere, or a problem that says what to do; never a fault of ours."""
    forged = base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")
    for cursor in (forged[:512], noise, forged[:-1]):
        answer = http.get("/v1/scans", params={"cursor": cursor, "status": "queued"})
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 400:
            assert answer.json()["code"] == "invalid_cursor"


@pytest.mark.parametrize("parts", [[1e300, "x"], [-1e300, "x"], [5e17, "\n\0"], [0.5, "(+-"]])
def test_cursors_of_ours_from_nowhere(http: TestClient, scans: None, parts: list[Any]) -> None:
    forged = base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")
    assert http.get("/v1/scans", params={"cursor": forged}).status_code == 200
