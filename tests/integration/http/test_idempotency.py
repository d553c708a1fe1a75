"""A POST with an `Idempotency-Key` happens once: over HTTP on a real Valkey."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Response
from redis import Redis
from starlette.testclient import TestClient

from tests.support.keys import bearer
from tests.support.traffic import Gateway, gateway, tiny
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.webhooks import DeliveryStatus
from tokenforce_core.scans.store import Store
from tokenforce_service.access.callers import MayWrite
from tokenforce_service.http import idempotency_store
from tokenforce_service.http.idempotency import NewId, NewSecretId
from tokenforce_service.http.idempotency_store import IdempotencyStore, InFlight, Lease, StoredAnswer
from tokenforce_service.refusals import Refusal
from tokenforce_service.webhooks.delivery_store import DeliveryStore

__all__ = ["gateway", "tiny"]


def start(http: TestClient, tiny: Path, key: str, headers: dict[str, str] | None = None, **more: Any) -> Any:
    return http.post(
        "/v1/scans", json={"model": str(tiny), **more}, headers={"Idempotency-Key": key, **(headers or {})}
    )


def scans(store: Store) -> int:
    return len(store.page(200))


def test_the_same_request_again_is_answered_as_before(gateway: Gateway, tiny: Path, store: Store) -> None:
    http = gateway()
    first, again = start(http, tiny, "k1"), start(http, tiny, "k1")
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.content == first.content
    for name in ("Location", "Content-Type", "Retry-After"):
        assert again.headers[name] == first.headers[name]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.headers["X-Request-ID"] != again.headers["X-Request-ID"]
    assert scans(store) == 1
    assert start(http, tiny, "k2").json()["id"] != first.json()["id"]
    assert start(http, tiny, '"k1"').json()["id"] == first.json()["id"]  # as the draft writes it


def test_a_replay_does_not_show_what_came_after(gateway: Gateway, tiny: Path, store: Store) -> None:
    http = gateway()
    first = start(http, tiny, "k1")
    store.cancel(first.json()["id"])
    assert start(http, tiny, "k1").json()["status"] == "queued"


def test_another_request_under_the_key_is_refused(gateway: Gateway, tiny: Path, store: Store) -> None:
    http = gateway()
    start(http, tiny, "k1")
    other = start(http, tiny, "k1", alpha=8)
    assert (other.status_code, other.json()["code"]) == (422, ErrorCode.idempotency_key_reused)
    query = http.post("/v1/scans?x=1", json={"model": str(tiny)}, headers={"Idempotency-Key": "k1"})
    assert query.status_code == 422
    assert scans(store) == 1


def test_another_owner_may_use_the_same_key(gateway: Gateway, tiny: Path, redis: Redis, store: Store) -> None:
    http = gateway()
    mine = start(http, tiny, "k1")
    theirs = start(http, tiny, "k1", headers=bearer(redis, owner="other"))
    assert (theirs.status_code, scans(store)) == (202, 2)
    assert theirs.json()["id"] != mine.json()["id"]


def test_twenty_at_once_make_one_scan(gateway: Gateway, tiny: Path, store: Store) -> None:
    http = gateway()
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: start(http, tiny, "k1"), range(20)))
    assert scans(store) == 1
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["code"] == ErrorCode.idempotency_in_flight
            assert int(answer.headers["Retry-After"]) >= 1
    assert start(http, tiny, "k1").headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("key", ["", " ", "a b", "é".encode(), "x" * 256, b"\x07", '""', '"a\\b"'])
def test_a_malformed_key_is_refused(gateway: Gateway, tiny: Path, store: Store, key: Any) -> None:
    answer = start(gateway(), tiny, key)
    assert (answer.status_code, answer.json()["code"]) == (400, ErrorCode.invalid_idempotency_key)
    assert scans(store) == 0


def test_two_keys_are_no_key(gateway: Gateway, tiny: Path) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = gateway().post("/v1/scans", json={"model": str(tiny)}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, ErrorCode.invalid_idempotency_key)


def test_a_refusal_is_the_answer_to_its_request(gateway: Gateway, tiny: Path) -> None:
    http = gateway()
    first, again = (start(http, tiny / "missing", "k1") for _ in range(2))
    assert (first.status_code, again.status_code) == (422, 422)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == first.json()


@pytest.mark.parametrize(
    ("most", "status", "code"),
    [
        ({"active_scans_per_key": 1, "max_active_scans": 2}, 429, ErrorCode.quota_exceeded),
        ({"active_scans_per_key": 2, "max_active_scans": 1}, 503, ErrorCode.overloaded),
    ],
)
def test_what_may_pass_is_not_stored(
    gateway: Gateway, tiny: Path, store: Store, most: dict[str, int], status: int, code: ErrorCode
) -> None:
    """429 and 503 say "later": the same key then starts the scan."""
    http = gateway(**most)
    first = start(http, tiny, "k1").json()["id"]
    refused = start(http, tiny, "k2")
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    store.cancel(first)
    assert start(http, tiny, "k2").status_code == 202


def test_without_a_key_every_request_counts(gateway: Gateway, tiny: Path, store: Store) -> None:
    http = gateway()
    for _ in range(2):
        assert http.post("/v1/scans", json={"model": str(tiny)}).status_code == 202
    assert scans(store) == 2


# --- routes of other kinds ------------------------------------------------------------------------------


@pytest.fixture
def odd(gateway: Gateway) -> TestClient:
    """A gateway with routes that fail first, or show a secret."""
    http = gateway()
    router, calls = APIRouter(), itertools.count()

    @router.post("/fails-first")
    def fails_first(caller: MayWrite, new_id: NewId) -> dict[str, str]:
        del caller
        if next(calls) == 0:
            raise Refusal(ErrorCode.store_unavailable, "Not now.")
        return {"id": new_id}

    @router.post("/crashes-first")
    def crashes_first(caller: MayWrite, new_id: NewId) -> dict[str, str]:
        del caller
        if next(calls) == 0:
            raise RuntimeError(new_id)
        return {"id": new_id}

    @router.post("/secret", status_code=201)
    def secret(caller: MayWrite, new_id: NewSecretId, response: Response) -> dict[str, str]:
        del caller
        response.headers["Location"] = f"/v1/things/{new_id}"
        return {"secret": "hush"}

    http.app.include_router(router)  # type: ignore[attr-defined]
    return http


@pytest.mark.parametrize(("path", "status"), [("/fails-first", 503), ("/crashes-first", 500)])
def test_after_a_fault_the_next_attempt_runs_with_the_same_id(
    odd: TestClient, redis: Redis, path: str, status: int
) -> None:
    headers = {"Idempotency-Key": "k"}
    assert odd.post(path, headers=headers).status_code == status
    (name,) = redis.keys("tf:idempotency:*")
    seed = redis.hget(name, "seed")
    again = odd.post(path, headers=headers)
    assert (again.status_code, again.json()["id"].encode()) == (200, seed)
    assert "Idempotency-Replayed" not in again.headers


def test_a_secret_is_shown_once_and_never_stored(odd: TestClient, redis: Redis) -> None:
    headers = {"Idempotency-Key": "k"}
    first, again = odd.post("/secret", headers=headers), odd.post("/secret", headers=headers)
    assert (first.status_code, first.json()) == (201, {"secret": "hush"})
    assert (again.status_code, again.json()["code"]) == (409, ErrorCode.already_created)
    assert again.headers["Location"] == first.headers["Location"]
    assert first.headers["Location"] in again.json()["detail"]
    assert not any(b"hush" in value for name in redis.keys("tf:idempotency:*") for value in redis.hvals(name))


# --- the store ------------------------------------------------------------------------------------------


def test_a_crash_in_the_middle_holds_the_key_briefly(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency_store, "LEASE_SECONDS", 0)
    store = IdempotencyStore(redis)
    dead = store.begin("me", "k", "digest")
    heir = store.begin("me", "k", "digest")
    assert isinstance(dead, Lease)
    assert isinstance(heir, Lease)
    assert heir.seed == dead.seed
    store.end(dead, StoredAnswer(202, {}, b"late"))  # not dead, only slow: its lease is another's now
    monkeypatch.setattr(idempotency_store, "LEASE_SECONDS", 10)
    third, waits = (store.begin("me", "k", "digest") for _ in range(2))
    assert isinstance(third, Lease)
    assert isinstance(waits, InFlight)
    assert 1 <= waits.seconds <= 10
    store.end(third, StoredAnswer(202, {"location": "/x"}, b"\xff\x00"))
    assert store.begin("me", "k", "digest") == StoredAnswer(202, {"location": "/x"}, b"\xff\x00")


def test_keys_are_forgotten_after_a_day(redis: Redis) -> None:
    IdempotencyStore(redis).begin("me", "k", "digest")
    (name,) = redis.keys("tf:idempotency:*")
    assert 86390 < redis.ttl(name) <= 86400


def test_owner_and_key_cannot_be_confused(redis: Redis) -> None:
    store = IdempotencyStore(redis)
    assert isinstance(store.begin("a", 'b"c', "digest"), Lease)
    assert isinstance(store.begin('a"b', "c", "digest"), Lease)


# --- what else a POST makes -----------------------------------------------------------------------------

FINGERPRINT = {"owner": "A", "licence": "L", "text": "Seven quiet herons guard a copper key beneath the frozen mill."}


def test_a_fingerprint_is_registered_once(gateway: Gateway) -> None:
    http = gateway()
    first, again = (http.post("/v1/fingerprints", json=FINGERPRINT, headers={"Idempotency-Key": "k"}) for _ in "12")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    other = http.post("/v1/fingerprints", json=FINGERPRINT, headers={"Idempotency-Key": "other"})
    assert (other.status_code, other.json()["code"]) == (409, ErrorCode.fingerprint_exists)


def test_a_registration_whose_answer_could_not_be_kept_is_no_twin_of_itself(gateway: Gateway, redis: Redis) -> None:
    http, headers = gateway(), {"Idempotency-Key": "k"}
    first = http.post("/v1/fingerprints", json=FINGERPRINT, headers=headers)
    redis.hdel(redis.keys("tf:idempotency:*")[0], "answer")
    again = http.post("/v1/fingerprints", json=FINGERPRINT, headers=headers)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert "Idempotency-Replayed" not in again.headers


def test_a_key_is_made_once_and_its_token_not_kept(gateway: Gateway, redis: Redis) -> None:
    http, headers = gateway(), {"Idempotency-Key": "k"}
    body = {"owner": "shop", "scopes": ["scans:read"]}
    first, again = (http.post("/v1/keys", json=body, headers=headers) for _ in "12")
    assert first.status_code == 201
    assert (again.status_code, again.json()["code"]) == (409, ErrorCode.already_created)
    assert first.json()["id"] in again.json()["detail"]
    secret = first.json()["token"].encode()
    assert not any(secret in (redis.dump(name) or b"") for name in redis.keys("tf:idempotency:*"))
    assert http.get("/v1/scans", headers={"Authorization": f"Bearer {secret.decode()}"}).status_code == 200


@pytest.fixture
def webhook(gateway: Gateway) -> tuple[TestClient, str]:
    """A gateway, and the path of a webhook."""
    http = gateway()
    return http, f"/v1/webhooks/{http.post('/v1/webhooks', json={'url': 'https://1.1.1.1/'}).json()['id']}"


def test_a_secret_is_rotated_once(webhook: tuple[TestClient, str], redis: Redis) -> None:
    http, path = webhook
    first, again = (http.post(f"{path}/rotate", headers={"Idempotency-Key": "k"}) for _ in "12")
    assert first.status_code == 200
    assert (again.status_code, again.json()["code"]) == (409, ErrorCode.already_created)
    assert (again.headers["Location"], "secret" in again.json()) == (path, False)
    assert redis.zcard(f"tf:webhook:{path.rpartition('/')[2]}:secrets") == 2
    assert not any(
        first.json()["secret"].encode() in (redis.dump(key) or b"") for key in redis.keys("tf:idempotency:*")
    )


def test_a_test_event_is_sent_once(webhook: tuple[TestClient, str], redis: Redis) -> None:
    """Even if the first attempt's answer could not be kept."""
    http, path = webhook
    headers = {"Idempotency-Key": "k"}
    first = http.post(f"{path}/test", headers=headers)
    redis.hdel(redis.keys("tf:idempotency:*")[0], "answer")
    second, third = (http.post(f"{path}/test", headers=headers) for _ in "12")
    assert first.json() == second.json() == third.json()
    assert third.headers["Idempotency-Replayed"] == "true"
    assert len(http.get(f"{path}/deliveries").json()["items"]) == 1
    assert http.post(f"{path}/test").json()["id"] != first.json()["id"]


def test_a_replay_is_answered_as_before(webhook: tuple[TestClient, str], redis: Redis) -> None:
    """Without the key it would be refused, as the delivery is pending by then."""
    http, path = webhook
    deliveries = DeliveryStore(redis)
    sent = http.post(f"{path}/test").json()["id"]
    claim = deliveries.claim()
    assert claim is not None
    deliveries.record(claim, claim.delivery.model_copy(update={"status": DeliveryStatus.dead, "next_at": None}))
    first, again = (http.post(f"{path}/deliveries/{sent}/replay", headers={"Idempotency-Key": "k"}) for _ in "12")
    assert (first.status_code, again.status_code, again.json()) == (202, 202, first.json())
    assert http.post(f"{path}/deliveries/{sent}/replay").json()["code"] == ErrorCode.delivery_pending
