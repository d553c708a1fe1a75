"""What a key makes belongs to its owner: for others it is not there. In-process on a real Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.keys import bearer
from tests.support.scan_results import example_report
from tokenforce.wire.keys import Scope
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce_core.scans.store import Store
from tokenforce_service.app import create_app
from tokenforce_service.settings import ServiceSettings

SCANS = "/v1/scans"


@pytest.fixture
def http(redis: Redis) -> Iterator[TestClient]:
    """Without a key."""
    with TestClient(create_app(ServiceSettings(), redis)) as client:
        yield client


def assert_unknown(http: TestClient, headers: dict[str, str], *calls: tuple[str, str]) -> None:
    """Each is answered exactly as an id that never was."""
    for method, path in calls:
        known = path.split("/")[3]
        answer = http.request(method, path, headers=headers)
        never = http.request(method, path.replace(known, "never_was"), headers=headers)
        assert answer.status_code == never.status_code == 404, (method, path)
        told, expected = (sorted({**a.json(), "request_id": ""}.items()) for a in (answer, never))
        assert str(told) == str(expected).replace("never_was", known)


def test_scans_of_others_do_not_exist(http: TestClient, redis: Redis, store: Store) -> None:
    mine, others = (bearer(redis, Scope.scans_read, Scope.scans_write, owner=name) for name in ("one", "two"))
    store.create("scan_mine", ScanRequest(model="org/name"), "one")
    for status in (ScanStatus.planning, ScanStatus.sweeping, ScanStatus.confirming, ScanStatus.aggregating):
        store.advance("scan_mine", status, *(s for s in ScanStatus if not s.final))
    store.finish("scan_mine", example_report("scan_mine"))
    for path in ("", "/findings", "/report", "/audit"):
        assert http.get(f"/v1/scans/scan_mine{path}", headers=mine).status_code == 200
        assert http.get(f"/v1/scans/scan_mine{path}", headers=bearer(redis)).status_code == 200
        assert_unknown(http, others, ("GET", f"/v1/scans/scan_mine{path}"))
    assert_unknown(http, others, ("DELETE", "/v1/scans/scan_mine"))
    assert http.delete("/v1/scans/scan_mine", headers=mine).status_code == 409


def test_cancelling_a_scan_of_others_does_nothing(http: TestClient, redis: Redis, store: Store) -> None:
    store.create("scan_mine", ScanRequest(model="org/name"), "one")
    assert_unknown(http, bearer(redis, Scope.scans_write, owner="two"), ("DELETE", "/v1/scans/scan_mine"))
    assert store.status("scan_mine") is ScanStatus.queued


def test_a_scan_belongs_to_its_key_s_owner(http: TestClient, redis: Redis) -> None:
    one, same, two = (bearer(redis, Scope.scans_read, Scope.scans_write, owner=name) for name in ("one", "one", "two"))
    location = http.post(SCANS, json={"model": "org/name"}, headers=one).headers["Location"]
    assert http.get(location, headers=same).status_code == 200
    assert http.get(location, headers=two).status_code == 404


def test_lists_show_what_is_ones_own(http: TestClient, redis: Redis, store: Store) -> None:
    for number in range(9):
        store.create(f"scan_{number}", ScanRequest(model="org/name"), ("one", "two", "three")[number % 3])
    keys = {name: bearer(redis, Scope.scans_read, owner=name) for name in ("one", "two", "four")}
    listed = {name: [scan["id"] for scan in pages(http, SCANS, header)] for name, header in keys.items()}
    assert listed == {"one": ["scan_6", "scan_3", "scan_0"], "two": ["scan_7", "scan_4", "scan_1"], "four": []}
    assert len(pages(http, SCANS, bearer(redis))) == 9


def pages(http: TestClient, path: str, header: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        page = http.get(path, params=params, headers=header).json()
        assert len(page["items"]) <= 2
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        params["cursor"] = page["next_cursor"]


def test_fingerprints_of_others_do_not_exist(http: TestClient, redis: Redis) -> None:
    one, two = (bearer(redis, Scope.scans_read, Scope.scans_write, owner=name) for name in ("one", "two"))
    body = {"owner": "A", "licence": "L", "text": "Seven quiet herons guard a key."}
    mine = http.post("/v1/fingerprints", json=body, headers=one)
    assert_unknown(http, two, ("GET", mine.headers["Location"]), ("DELETE", mine.headers["Location"]))
    # Not even by a conflict, though it names the same owner.
    other = http.post("/v1/fingerprints", json=body, headers=two)
    assert other.status_code == 201
    again = http.post("/v1/fingerprints", json=body, headers=one)
    assert (again.status_code, mine.json()["id"] in again.text) == (409, True)
    assert [item["id"] for item in pages(http, "/v1/fingerprints", two)] == [other.json()["id"]]
    assert len(pages(http, "/v1/fingerprints", bearer(redis))) == 2
    assert http.delete(mine.headers["Location"], headers=one).status_code == 204
    assert http.get(other.headers["Location"], headers=two).status_code == 200
    assert http.post("/v1/fingerprints", json=body, headers=one).status_code == 201
