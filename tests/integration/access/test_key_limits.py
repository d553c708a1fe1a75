"""Keys with limits of their own, in place of the settings': over HTTP on a real Valkey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.keys import bearing
from tests.support.traffic import Gateway, gateway, tiny
from tests.support.uploads import changed, recorded
from tokenforce_core.scans.store import Store
from tokenforce_service.access.key_store import KeyStore

__all__ = ["gateway", "tiny"]


def limited(http: TestClient, *scopes: str, **limits: int) -> dict[str, str]:
    """The header that carries a new key with these limits."""
    made = http.post("/v1/keys", json={"owner": "a", "scopes": scopes or ["scans:read"], "limits": limits})
    assert made.status_code == 201, made.text
    return bearing(made.json()["token"])


def test_a_key_shows_its_limits(gateway: Gateway) -> None:
    http = gateway()
    own = {"reads_per_minute": 7, "writes_per_minute": None, "active_scans": None, "scans_per_day": 9}
    made = http.post(
        "/v1/keys", json={"owner": "a", "scopes": ["admin"], "limits": {k: v for k, v in own.items() if v}}
    )
    assert made.json()["limits"] == own
    assert http.get(f"/v1/keys/{made.json()['id']}").json()["limits"] == own
    assert http.get("/v1/keys").json()["items"][0]["limits"] == own
    usual = http.post("/v1/keys", json={"owner": "a", "scopes": ["admin"]}).json()
    assert set(usual["limits"].values()) == {None}
    assert http.get(f"/v1/keys/{usual['id']}").json()["limits"] == usual["limits"]


@pytest.mark.parametrize(
    "limits",
    [
        {"reads_per_minute": 0},
        {"scans_per_day": -1},
        {"active_scans": 1.5},
        {"writes_per_minute": 10**10},
        {"scans_a_week": 1},
        [],
    ],
)
def test_what_is_no_limit(gateway: Gateway, limits: Any) -> None:
    answer = gateway().post("/v1/keys", json={"owner": "a", "scopes": ["admin"], "limits": limits})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["pointer"].startswith("/body/limits")


@pytest.mark.parametrize("own", [2, 40])
def test_rates(gateway: Gateway, own: int) -> None:
    """Below and above those of the service; reads and writes apart."""
    http = gateway(reads_per_minute=10, writes_per_minute=10)
    reader = limited(http, reads_per_minute=own)
    answers = [http.get("/v1/scans", headers=reader) for _ in range(own)]
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].headers["RateLimit-Limit"] == str(own)
    refused = [http.get("/v1/scans", headers=reader) for _ in range(3)][-1]  # a token may have come back meanwhile
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert f"may send {own} reads a minute" in refused.json()["detail"]
    writer = limited(http, "scans:write", writes_per_minute=own)
    assert http.delete("/v1/scans/none", headers=writer).headers["RateLimit-Limit"] == str(own)
    assert http.get("/v1/scans", headers=limited(http, writes_per_minute=own)).headers["RateLimit-Limit"] == "10"


def start(http: TestClient, tiny: Path, key: dict[str, str]) -> Any:
    return http.post("/v1/scans", json={"model": str(tiny)}, headers=key)


def test_scans_at_once_and_a_day(gateway: Gateway, tiny: Path, store: Store) -> None:
    http = gateway(active_scans_per_key=1, scans_per_key_and_day=2)
    more = limited(http, "scans:write", active_scans=2, scans_per_day=3)
    started = [start(http, tiny, more).json()["id"] for _ in range(2)]
    assert "its limit of active scans (2)" in start(http, tiny, more).json()["detail"]
    for scan_id in started:
        store.cancel(scan_id)
    assert start(http, tiny, more).status_code == 202
    assert "its limit of scans per day (3)" in start(http, tiny, more).json()["detail"]
    usual = limited(http, "scans:write")
    assert start(http, tiny, usual).status_code == 202
    assert "its limit of active scans (1)" in start(http, tiny, usual).json()["detail"]


def test_a_hook_has_the_limits_of_the_key_that_made_it(gateway: Gateway, redis: Redis) -> None:
    http = gateway()
    key = limited(http, "hooks", active_scans=1)
    hook = http.post("/v1/hooks", json={"kind": "huggingface", "policy": {"repos": ["*"]}}, headers=key).json()

    def push(body: bytes) -> Any:
        return http.post("/v1/hooks/huggingface", content=body, headers={"X-Webhook-Secret": hook["secret"]})

    assert push(recorded("content_update")).status_code == 202
    put_off = push(changed("content_update", repo={"id": "another"}))
    assert (put_off.status_code, put_off.json()["code"]) == (429, "quota_exceeded")
    assert "its limit of active scans (1)" in put_off.json()["detail"]


def test_limits_in_the_store_of_a_newer_service(redis: Redis) -> None:
    row, _ = KeyStore(redis).create("a", [])
    redis.hset(f"tf:key:{row.id}", "limits", '{"scans_per_day": 5, "scans_a_week": 1}')
    stored = KeyStore(redis).get(row.id)
    assert stored is not None
    assert stored.limits.model_dump(exclude_none=True) == {"scans_per_day": 5}
