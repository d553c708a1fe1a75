"""Keys at the gateway, in-process on a real Valkey: who is let in, and to what."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, cast

import pytest
from fastapi import FastAPI
from redis import Redis
from starlette.testclient import TestClient

from tests.support.keys import bearer, bearing, issue, made
from tests.support.refusing_service import assert_problem
from tokenforce.wire.keys import Scope
from tokenforce.wire.problems import ErrorCode
from tokenforce_service.access import callers
from tokenforce_service.access.key_store import KeyStore
from tokenforce_service.access.tokens import Token
from tokenforce_service.app import create_app
from tokenforce_service.settings import ServiceSettings

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
        assert_problem(cast(Any, answer), 401, UNAUTHENTICATED, "This key is unknown")
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
    assert_problem(cast(Any, guess), 401, UNAUTHENTICATED, "This key is unknown")


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
WITH_SECRET = {"/v1/hooks/huggingface": 401, "/v1/hooks/upload": 422}
"""Proven by a secret or a signature instead, and what they answer to neither (tests/integration/hooks)."""
SCOPES = {
    "POST /v1/scans": Scope.scans_write,
    "GET /v1/scans": Scope.scans_read,
    "GET /v1/scans/{scan_id}": Scope.scans_read,
    "GET /v1/scans/{scan_id}/events": Scope.scans_read,
    "GET /v1/events": Scope.scans_read,
    "GET /v1/stats": Scope.scans_read,
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
    "GET /v1/scans/{scan_id}/audit": Scope.scans_read,
    "POST /v1/hooks": Scope.hooks,
    "GET /v1/hooks": Scope.hooks,
    "GET /v1/hooks/{hook_id}": Scope.hooks,
    "PATCH /v1/hooks/{hook_id}": Scope.hooks,
    "DELETE /v1/hooks/{hook_id}": Scope.hooks,
    "POST /v1/hooks/{hook_id}/rotate": Scope.hooks,
    "POST /v1/webhooks": Scope.hooks,
    "GET /v1/webhooks": Scope.hooks,
    "GET /v1/webhooks/{webhook_id}": Scope.hooks,
    "PATCH /v1/webhooks/{webhook_id}": Scope.hooks,
    "DELETE /v1/webhooks/{webhook_id}": Scope.hooks,
    "POST /v1/webhooks/{webhook_id}/rotate": Scope.hooks,
    "POST /v1/webhooks/{webhook_id}/test": Scope.hooks,
    "GET /v1/webhooks/{webhook_id}/deliveries": Scope.hooks,
    "GET /v1/webhooks/{webhook_id}/deliveries/{delivery_id}": Scope.hooks,
    "POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay": Scope.hooks,
}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/scans": {"model": "org/name"},
    "/v1/fingerprints": {"owner": "A", "licence": "L", "text": "Seven quiet herons guard a key."},
    "/v1/keys": {"owner": "a", "scopes": ["hooks"]},
    "/v1/webhooks": {"url": "https://1.1.1.1/"},
    "/v1/hooks": {"kind": "upload", "policy": {"repos": ["*"]}},
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
            if path in WITH_SECRET:
                assert http.request(method, concrete, headers=keys[Scope.admin]).status_code == WITH_SECRET[path], path
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
                    assert_problem(
                        cast(Any, answer), 403, ErrorCode.scope_missing, f"does not have the scope {SCOPES[name]}"
                    )
                    assert answer.headers["WWW-Authenticate"] == (
                        f'Bearer error="insufficient_scope", scope="{SCOPES[name]}"'
                    )
    assert seen == set(SCOPES)
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_the_key_is_looked_at_before_the_fields(http: TestClient) -> None:
    assert http.post(SCANS, json={"nonsense": 1}).status_code == 401
    assert http.get(SCANS, params={"limit": "x"}).status_code == 401
