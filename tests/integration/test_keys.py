"""Keys at the gateway, in-process on a real Valkey: who is let in, to what, and what is told to nobody."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import FastAPI
from redis import Redis
from starlette.testclient import TestClient

from tests.support.keys import bearer, issue
from tests.support.refusing_service import assert_problem
from tests.support.scan_results import example_report
from tokenforce import Client
from tokenforce.api_keys import Scope
from tokenforce.types import ErrorCode, ScanRequest, ScanStatus
from tokenforce_core.store import Store
from tokenforce_service import callers
from tokenforce_service.app import create_app
from tokenforce_service.key_store import KeyStore
from tokenforce_service.settings import ServiceSettings
from tokenforce_service.tokens import Token, parse

SCANS = "/v1/scans"
UNAUTHENTICATED = ErrorCode.unauthenticated


@pytest.fixture
def app(redis: Redis) -> FastAPI:
    return create_app(ServiceSettings(), redis)


@pytest.fixture
def http(app: FastAPI) -> Iterator[TestClient]:
    """Without a key."""
    with TestClient(app) as client:
        yield client


def bearing(token: Token | str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def made(redis: Redis, *scopes: Scope, owner: str = "one", **more: Any) -> Token:
    return KeyStore(redis).create(owner, scopes or (Scope.admin,), **more)[1]


# --- who is let in --------------------------------------------------------------------------------------


GOOD = "tf_" + "a" * 16 + "_" + "b" * 43
WRONG = {
    "empty": "",
    "only the scheme": "Bearer",
    "no token": "Bearer ",
    "no scheme": GOOD,
    "another scheme": f"Basic {GOOD}",
    "digest": 'Digest username="x"',
    "unknown": f"Bearer {GOOD}",
    "parts missing": "Bearer tf_",
    "no secret": "Bearer tf_" + "a" * 16,
    "empty id": "Bearer tf__" + "b" * 43,
    "two tokens": f"Bearer {GOOD}, Bearer {GOOD}",
    "of another service": "Bearer sk-" + "c" * 40,
    "not ASCII": "Bearer tf_é" + "a" * 15 + "_" + "b" * 43,
    "control characters": "Bearer tf_\x1b]0;\x07",
    "10 kB": "Bearer tf_" + "a" * 10_000,
    "a Redis key": "Bearer tf_*_" + "b" * 43,
}


@pytest.mark.parametrize("value", list(WRONG.values()), ids=list(WRONG))
def test_what_is_no_key(http: TestClient, value: str) -> None:
    answer = http.get(SCANS, headers={b"Authorization": value.encode("latin-1")})
    problem = assert_problem(cast(Any, answer), 401, UNAUTHENTICATED, "")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    for part in value.replace(",", " ").split():
        assert part in ("Bearer", "tf_") or part not in problem["detail"]


def test_without_a_key_it_says_how_to_send_one(http: TestClient) -> None:
    answer = http.get(SCANS)
    assert_problem(cast(Any, answer), 401, UNAUTHENTICATED, "send `Authorization: Bearer tf_…`, or set TOKENFORCE_KEY")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_two_keys_are_none(http: TestClient, redis: Redis) -> None:
    headers = [("Authorization", f"Bearer {issue(redis)}"), ("Authorization", f"Bearer {issue(redis)}")]
    assert http.get(SCANS, headers=cast(Any, headers)).status_code == 401


def test_the_scheme_is_read_in_any_case(http: TestClient, redis: Redis) -> None:
    token = issue(redis)
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert http.get(SCANS, headers={"Authorization": f"{scheme} {token}"}).status_code == 200


def test_a_wrong_secret(http: TestClient, redis: Redis) -> None:
    token, other = made(redis), made(redis)
    for secret in (other.secret, token.secret[::-1], token.secret.swapcase(), "a" * 43):
        answer = http.get(SCANS, headers=bearing(Token(token.key_id, secret)))
        assert_problem(cast(Any, answer), 401, UNAUTHENTICATED, "The key is unknown")
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert http.get(SCANS, headers=bearing(token)).status_code == 200


def test_a_revoked_key(http: TestClient, redis: Redis) -> None:
    admin, token = bearer(redis), made(redis)
    assert http.get(SCANS, headers=bearing(token)).status_code == 200
    first = http.delete(f"/v1/keys/{token.key_id}", headers=admin)
    assert_problem(cast(Any, http.get(SCANS, headers=bearing(token))), 401, UNAUTHENTICATED, "was revoked")
    again = http.delete(f"/v1/keys/{token.key_id}", headers=admin)
    assert (again.status_code, again.json()["revoked_at"]) == (200, first.json()["revoked_at"])
    # Whoever does not know the secret is not told.
    guess = http.get(SCANS, headers=bearing(Token(token.key_id, "a" * 43)))
    assert_problem(cast(Any, guess), 401, UNAUTHENTICATED, "The key is unknown")


def test_a_key_revoked_elsewhere_works_for_seconds_only(
    http: TestClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "CACHE_SECONDS", 0.5)
    token = made(redis)
    assert http.get(SCANS, headers=bearing(token)).status_code == 200
    KeyStore(redis).revoke(token.key_id)
    revoked_at = time.monotonic()
    while http.get(SCANS, headers=bearing(token)).status_code == 200:
        assert time.monotonic() - revoked_at < 20
        time.sleep(0.05)


def test_an_expired_key(http: TestClient, redis: Redis) -> None:
    token = made(redis, expires_at=time.time() + 0.5)
    assert http.get(SCANS, headers=bearing(token)).status_code in (200, 401)  # within the half second, or late
    time.sleep(0.5)
    assert_problem(cast(Any, http.get(SCANS, headers=bearing(token))), 401, UNAUTHENTICATED, "has expired")


def test_secrets_are_compared_in_constant_time(http: TestClient, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return False

    token = made(redis)
    monkeypatch.setattr("hmac.compare_digest", compare)
    for sent in (token, Token("a" * 16, token.secret)):  # a key that exists, and one that does not
        compared.clear()
        assert http.get(SCANS, headers=bearing(sent)).status_code == 401
        assert compared
        assert all(len(digest) == 64 for pair in compared for digest in pair)


# --- to what --------------------------------------------------------------------------------------------

WITHOUT_KEY = {"/healthz", "/readyz", "/metrics", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"}
SCOPES = {
    "POST /v1/scans": Scope.scans_write,
    "GET /v1/scans": Scope.scans_read,
    "GET /v1/scans/{scan_id}": Scope.scans_read,
    "GET /v1/scans/{scan_id}/findings": Scope.scans_read,
    "GET /v1/scans/{scan_id}/report": Scope.scans_read,
    "DELETE /v1/scans/{scan_id}": Scope.scans_write,
    "POST /v1/fingerprints": Scope.scans_write,
    "GET /v1/fingerprints": Scope.scans_read,
    "GET /v1/fingerprints/{fingerprint_id}": Scope.scans_read,
    "DELETE /v1/fingerprints/{fingerprint_id}": Scope.scans_write,
    "POST /v1/keys": Scope.admin,
    "GET /v1/keys": Scope.admin,
    "GET /v1/keys/{key_id}": Scope.admin,
    "DELETE /v1/keys/{key_id}": Scope.admin,
}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/scans": {"model": "org/name"},
    "/v1/fingerprints": {"owner": "A", "licence": "L", "text": "Seven quiet herons guard a key."},
    "/v1/keys": {"owner": "a", "scopes": ["hooks"]},
}


def routes(app: FastAPI) -> dict[str, set[str]]:
    """Path → methods of all that the app serves."""
    found: dict[str, set[str]] = {}
    for route in app.routes:
        found.setdefault(getattr(route, "path", ""), set()).update(getattr(route, "methods", None) or ())
    return found


def test_every_route_needs_a_key_with_its_scope(app: FastAPI, http: TestClient, redis: Redis) -> None:
    document = http.get("/openapi.json").json()
    keys = {scope: bearer(redis, scope) for scope in Scope}
    seen = set()
    for path, methods in routes(app).items():
        for method in methods - {"HEAD"}:
            concrete = path.replace("{", "").replace("}", "")
            body = BODIES.get(path) if method == "POST" else None
            if path in WITHOUT_KEY:
                assert http.request(method, concrete).status_code == 200, path
                continue
            name = f"{method} {path}"
            seen.add(name)
            operation = document["paths"][path][method.lower()]
            assert operation["security"] == [{"key": [SCOPES[name].value]}], name
            assert {"401", "403"} <= set(operation["responses"]), name
            assert http.request(method, concrete, json=body).status_code == 401, name
            for scope, header in keys.items():
                answer = http.request(method, concrete, json=body, headers=header)
                if scope in (SCOPES[name], Scope.admin):
                    assert answer.status_code not in (401, 403), (name, scope)
                else:
                    assert_problem(cast(Any, answer), 403, ErrorCode.scope_missing, f"lacks the scope {SCOPES[name]}")
                    assert answer.headers["WWW-Authenticate"] == (
                        f'Bearer error="insufficient_scope", scope="{SCOPES[name]}"'
                    )
    assert seen == set(SCOPES)
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_the_key_is_looked_at_before_the_fields(http: TestClient) -> None:
    assert http.post(SCANS, json={"nonsense": 1}).status_code == 401
    assert http.get(SCANS, params={"limit": "x"}).status_code == 401


# --- what belongs to whom -------------------------------------------------------------------------------


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
    for path in ("", "/findings", "/report"):
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


def test_scans_from_before_there_were_keys(http: TestClient, redis: Redis, store: Store) -> None:
    store.create("scan_old", ScanRequest(model="org/name"), "one")
    redis.hdel("tf:scan:scan_old", "owner")
    assert http.get("/v1/scans/scan_old", headers=bearer(redis, Scope.scans_read, owner="local")).status_code == 200
    assert http.get("/v1/scans/scan_old", headers=bearer(redis, Scope.scans_read, owner="one")).status_code == 404


def test_fingerprints_of_others_do_not_exist(http: TestClient, redis: Redis) -> None:
    one, two = (bearer(redis, Scope.scans_read, Scope.scans_write, owner=name) for name in ("one", "two"))
    body = BODIES["/v1/fingerprints"]
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


# --- /v1/keys -------------------------------------------------------------------------------------------


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
        assert_problem(cast(Any, answer), 422, ErrorCode.invalid_request, "expires_at must lie ahead")
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
        monkeypatch.setattr("tokenforce_service.key_store.time", SimpleNamespace(time=lambda now=now: now))
        store.note_use(row.id)
        found = store.get(row.id)
        assert found is not None
        noted.append(found.last_used_at)
    assert noted == [1000.0, 1000.0, 1060.0, 1060.0]
    store.note_use("a" * 16)
    assert store.get("a" * 16) is None
    assert store.revoke("a" * 16) is False
