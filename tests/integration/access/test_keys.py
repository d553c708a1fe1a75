"""The routes under /v1/keys, in-process on a real Valkey, and what is told of a key."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.keys import bearer, bearing, issue
from tests.support.refusing_service import assert_problem
from tokenforce import Client
from tokenforce.wire.keys import Scope
from tokenforce.wire.problems import ErrorCode
from tokenforce_service.access.key_store import KeyStore
from tokenforce_service.access.tokens import parse
from tokenforce_service.app import create_app
from tokenforce_service.settings import ServiceSettings

SCANS = "/v1/scans"


@pytest.fixture
def http(redis: Redis) -> Iterator[TestClient]:
    """Without a key."""
    with TestClient(create_app(ServiceSettings(), redis)) as client:
        yield client


@pytest.fixture
def admin(http: TestClient, redis: Redis) -> Iterator[Client]:
    with Client(http_client=cast(Any, http), key=issue(redis)) as client:
        yield client


def test_a_key_from_the_sdk(admin: Client, http: TestClient) -> None:
    until = datetime.now(UTC) + timedelta(days=1)
    new = admin.keys.create(owner="market", scopes=[Scope.scans_read], name="dashboard", expires_at=until)
    token = parse(new.token)
    assert token is not None
    assert token.key_id == new.id
    assert http.get(SCANS, headers=bearing(new.token)).status_code == 200
    assert http.post(SCANS, json={"model": "a/b"}, headers=bearing(new.token)).status_code == 403
    found = admin.keys.get(new.id)
    assert (found.owner, found.name, found.scopes) == ("market", "dashboard", ["scans:read"])
    assert (found.revoked_at, found.expires_at) == (None, until)
    assert found.last_used_at is not None
    assert abs(found.last_used_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_pages_of_keys(admin: Client) -> None:
    names = [str(number) for number in range(5)]
    for name in names:
        admin.keys.create(owner="a", scopes=["hooks"], name=name)
    found = list(admin.keys.iter(page_size=2))
    assert [key.name for key in found][:5] == names[::-1]
    assert len(found) == 6


def test_what_cannot_be_a_key(http: TestClient, redis: Redis) -> None:
    admin = bearer(redis)
    for expires_at in ("2020-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"):
        body = {"owner": "a", "scopes": ["hooks"], "expires_at": expires_at}
        answer = http.post("/v1/keys", json=body, headers=admin)
        assert_problem(cast(Any, answer), 422, ErrorCode.invalid_request, "expires_at must be in the future")
    for body in ({"owner": "a", "scopes": []}, {"owner": "a:b", "scopes": ["hooks"]}, {"owner": "a", "scopes": ["x"]}):
        assert http.post("/v1/keys", json=body, headers=admin).status_code == 422


@pytest.mark.parametrize("name", ["none", "*", "a:b", "%2e%2e", "x" * 300, "é"])
def test_ids_that_are_none(http: TestClient, redis: Redis, name: str) -> None:
    for method in ("GET", "DELETE"):
        assert http.request(method, f"/v1/keys/{name}", headers=bearer(redis)).status_code == 404


def test_the_token_is_told_once_and_kept_nowhere(
    http: TestClient, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    admin = bearer(redis)
    answer = http.post("/v1/keys", json={"owner": "a", "scopes": ["scans:read"]}, headers=admin)
    assert answer.headers["Cache-Control"] == "no-store"
    token = parse(answer.json()["token"])
    assert token is not None
    assert answer.headers["Location"] == f"/v1/keys/{token.key_id}"
    assert http.get(SCANS, headers=bearing(token)).status_code == 200
    assert http.get(f"/v1/keys/{token}", headers=admin).status_code == 404  # a mistake that happens
    told = http.get("/v1/keys", headers=admin).text + http.get(f"/v1/keys/{token.key_id}", headers=admin).text
    http.delete(f"/v1/keys/{token.key_id}", headers=admin)
    assert http.get(SCANS, headers=bearing(token)).status_code == 401
    logged = "".join(record.getMessage() for record in caplog.records if record.name.startswith("tokenforce"))
    kept = b"".join(cast(bytes, redis.dump(key)) for key in cast(list[bytes], redis.keys()))
    assert token.secret not in told + logged
    assert token.key_id in logged  # it is not just empty
    assert token.secret.encode() not in kept
    assert cast(bytes, redis.hget(f"tf:key:{token.key_id}", "digest")).decode() not in told + logged


def test_the_last_use_is_noted_once_a_minute(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    store = KeyStore(redis)
    row, _ = store.create("a", [Scope.hooks])
    noted = []
    for now in (1000.0, 1059.9, 1060.0, 1061.0):
        monkeypatch.setattr("tokenforce_service.access.key_store.time", SimpleNamespace(time=lambda now=now: now))
        store.note_use(row.id)
        found = store.get(row.id)
        assert found is not None
        noted.append(found.last_used_at)
    assert noted == [1000.0, 1000.0, 1060.0, 1060.0]
    store.note_use("a" * 16)
    assert store.get("a" * 16) is None
    assert store.revoke("a" * 16) is False
