"""The routes under /v1/webhooks: who sees what, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.keys import bearer
from tokenforce import Client
from tokenforce.wire.keys import Scope
from tokenforce.wire.problems import ErrorCode
from tokenforce_service.access.registrations import MOST_OF_ONE_OWNER
from tokenforce_service.app import create_app
from tokenforce_service.settings import ServiceSettings

URL = "https://1.1.1.1/hook"
UNKNOWN = "wh_0123456789abcdef"
EVERY_ROUTE = [
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/rotate"),
    ("POST", "/test"),
    ("GET", "/deliveries"),
    ("GET", "/deliveries/{delivery}"),
    ("POST", "/deliveries/{delivery}/replay"),
]


@pytest.fixture
def http(redis: Redis) -> Iterator[TestClient]:
    with TestClient(create_app(ServiceSettings(), redis), headers=bearer(redis, Scope.hooks, owner="a")) as client:
        yield client


@pytest.fixture
def made(http: TestClient) -> dict[str, Any]:
    answer = http.post("/v1/webhooks", json={"url": URL})
    assert answer.status_code == 201
    return cast("dict[str, Any]", answer.json())


def refused(answer: Any, status: int, code: ErrorCode) -> str:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["code"], problem["status"]) == (code, status)
    assert problem["request_id"]
    return str(problem["detail"])


def test_registration(http: TestClient) -> None:
    answer = http.post("/v1/webhooks", json={"url": URL, "events": ["scan.failed"], "description": "d"})
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["Location"] == f"/v1/webhooks/{made['id']}"
    assert made["secret"].startswith("whsec_")
    seen = http.get(answer.headers["Location"]).json()
    assert seen == {key: value for key, value in made.items() if key not in ("secret", "previous_secrets_until")}
    assert (seen["url"], seen["events"], seen["enabled"], seen["description"]) == (URL, ["scan.failed"], True, "d")
    assert http.get("/v1/webhooks").json()["items"] == [seen]


def test_every_end_is_told_unless_said_otherwise(made: dict[str, Any]) -> None:
    assert made["events"] == ["scan.succeeded", "scan.failed", "scan.cancelled"]


def test_change(http: TestClient, made: dict[str, Any]) -> None:
    path = f"/v1/webhooks/{made['id']}"
    changed = http.patch(path, json={"enabled": False, "url": "https://8.8.8.8/", "events": ["scan.cancelled"]}).json()
    assert (changed["enabled"], changed["url"], changed["events"]) == (False, "https://8.8.8.8/", ["scan.cancelled"])
    assert http.patch(path, json={"description": "x"}).json() == {**changed, "description": "x"}
    assert "secret" not in changed
    detail = refused(http.patch(path, json={"url": "https://10.0.0.1/"}), 422, ErrorCode.webhook_url_refused)
    assert "10.0.0.1 does not lead to public addresses only" in detail
    assert http.get(path).json()["url"] == "https://8.8.8.8/"
    refused(http.patch(path, json={}), 422, ErrorCode.invalid_request)
    refused(http.patch(path, json={"secret": "x"}), 422, ErrorCode.invalid_request)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": ""},
        {"url": 7},
        {"url": "https://1.1.1.1/" + "x" * 2048},
        {"url": URL, "events": []},
        {"url": URL, "events": ["scan.exploded"]},
        {"url": URL, "events": ["webhook.test"]},
        {"url": URL, "events": "scan.failed"},
        {"url": URL, "event": ["scan.failed"]},
        {"url": URL, "description": "x" * 501},
    ],
)
def test_wrong_bodies(http: TestClient, body: dict[str, Any]) -> None:
    refused(http.post("/v1/webhooks", json=body), 422, ErrorCode.invalid_request)


@pytest.mark.parametrize("url", ["http://1.1.1.1/", "https://127.0.0.1/", "https://localhost/", "\u0000", "\U0001f99c"])
def test_wrong_urls(http: TestClient, url: str) -> None:
    refused(http.post("/v1/webhooks", json={"url": url}), 422, ErrorCode.webhook_url_refused)


def test_removal(http: TestClient, made: dict[str, Any]) -> None:
    path = f"/v1/webhooks/{made['id']}"
    queued = http.post(path + "/test").json()
    assert http.get(f"{path}/deliveries/{queued['id']}").json() == queued
    assert http.delete(path).status_code == 204
    for method, part in EVERY_ROUTE:
        answer = http.request(method, path + part.format(delivery=queued["id"]), json={"enabled": True})
        refused(answer, 404, ErrorCode.webhook_not_found)
    assert http.get("/v1/webhooks").json()["items"] == []


def test_too_many(http: TestClient) -> None:
    for _ in range(MOST_OF_ONE_OWNER):
        assert http.post("/v1/webhooks", json={"url": URL}).status_code == 201
    assert "remove one first" in refused(http.post("/v1/webhooks", json={"url": URL}), 409, ErrorCode.webhook_limit)


@pytest.mark.parametrize("webhook_id", [UNKNOWN, "x", "wh_..", "wh_0123456789abcdef:secrets", "🦜", "%00", "x" * 3000])
def test_unknown_endpoints(http: TestClient, made: dict[str, Any], webhook_id: str) -> None:
    for method, part in EVERY_ROUTE:
        answer = http.request(
            method, f"/v1/webhooks/{webhook_id}{part.format(delivery='evt_1')}", json={"enabled": True}
        )
        refused(answer, 404, ErrorCode.webhook_not_found)


@pytest.mark.parametrize("delivery_id", ["evt_1", "🦜", "x" * 3000])
def test_unknown_deliveries(http: TestClient, made: dict[str, Any], delivery_id: str) -> None:
    path = f"/v1/webhooks/{made['id']}/deliveries/{delivery_id}"
    refused(http.get(path), 404, ErrorCode.delivery_not_found)
    refused(http.post(path + "/replay"), 404, ErrorCode.delivery_not_found)


@pytest.mark.parametrize("path", ["/v1/webhooks", "/v1/webhooks/{id}/deliveries"])
def test_tampered_cursors(http: TestClient, made: dict[str, Any], path: str) -> None:
    for cursor in ("x", "bm8", "W10", "WzEsMl0"):
        answer = http.get(path.format(id=made["id"]), params={"cursor": cursor})
        refused(answer, 400, ErrorCode.invalid_cursor)
    answer = http.get(path.format(id=made["id"]), params={"status": "lost", "limit": 0})
    refused(answer, 422, ErrorCode.invalid_request)


def test_pages(http: TestClient) -> None:
    made = [http.post("/v1/webhooks", json={"url": URL}).json()["id"] for _ in range(7)]
    with Client(http_client=cast(Any, http)) as sdk:
        assert [webhook.id for webhook in sdk.webhooks.iter(page_size=3)] == made[::-1]
        queued = [sdk.webhooks.test(made[0]).id for _ in range(7)]
        assert [delivery.id for delivery in sdk.webhooks.deliveries(made[0], page_size=3)] == queued[::-1]


# --- ownership ----------------------------------------------------------------------------------------


def test_what_belongs_to_somebody_else_does_not_exist(http: TestClient, made: dict[str, Any], redis: Redis) -> None:
    queued = http.post(f"/v1/webhooks/{made['id']}/test").json()
    before = http.get(f"/v1/webhooks/{made['id']}").json()
    other = bearer(redis, Scope.hooks, owner="b")
    for method, part in EVERY_ROUTE:
        path = f"/v1/webhooks/{made['id']}{part.format(delivery=queued['id'])}"
        refused(http.request(method, path, headers=other, json={"enabled": False}), 404, ErrorCode.webhook_not_found)
    assert http.get("/v1/webhooks", headers=other).json()["items"] == []
    assert http.get(f"/v1/webhooks/{made['id']}").json() == before


def test_an_admin_reaches_those_of_others(http: TestClient, made: dict[str, Any], redis: Redis) -> None:
    admin = bearer(redis, Scope.admin, owner="operator")
    assert http.get(f"/v1/webhooks/{made['id']}", headers=admin).json()["id"] == made["id"]
    own = http.post("/v1/webhooks", json={"url": URL}, headers=admin).json()["id"]
    listed = http.get("/v1/webhooks", headers=admin).json()["items"]
    assert [each["id"] for each in listed] == [own, made["id"]]
    assert [each["id"] for each in http.get("/v1/webhooks").json()["items"]] == [made["id"]]
    http.delete(f"/v1/webhooks/{made['id']}", headers=admin)
    assert [each["id"] for each in http.get("/v1/webhooks", headers=admin).json()["items"]] == [own]


def test_the_scope_is_needed(http: TestClient, made: dict[str, Any], redis: Redis) -> None:
    lesser = bearer(redis, Scope.scans_read, Scope.scans_write, owner="a")
    for headers, status, code in (
        (lesser, 403, ErrorCode.scope_missing),
        ({"Authorization": ""}, 401, ErrorCode.unauthenticated),
    ):
        refused(http.post("/v1/webhooks", json={"url": URL}, headers=headers), status, code)
        refused(http.get("/v1/webhooks", headers=headers), status, code)
        for method, part in EVERY_ROUTE:
            path = f"/v1/webhooks/{made['id']}{part.format(delivery='evt_1')}"
            refused(http.request(method, path, headers=headers, json={"enabled": False}), status, code)
