"""Deliveries in a real Valkey: nothing is lost, and no two processes send the same at once."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from redis import Redis

from tokenforce.wire.webhooks import DeliveryStatus, WebhookChange, WebhookRequest
from tokenforce_service.access import rotating_secrets
from tokenforce_service.access.registrations import MOST_OF_ONE_OWNER
from tokenforce_service.webhooks import delivery_store
from tokenforce_service.webhooks.delivery_store import DUE, Claim, DeliveryStore, StoredDelivery
from tokenforce_service.webhooks.endpoint_store import EndpointStore

OWNER = "market"
REQUEST = WebhookRequest(url="https://example.com/")


@pytest.fixture
def endpoints(redis: Redis) -> EndpointStore:
    return EndpointStore(redis)


@pytest.fixture
def deliveries(redis: Redis, endpoints: EndpointStore) -> DeliveryStore:
    for webhook_id in ("wh_a", "wh_b"):
        assert endpoints.create(webhook_id, OWNER, REQUEST, f"whsec_{webhook_id}")
    return DeliveryStore(redis)


def made(event_id: str, at: float | None = None) -> StoredDelivery:
    at = time.time() if at is None else at
    return StoredDelivery(event_id=event_id, type="scan.failed", body="{}", created_at=at, since=at, next_at=at)


def ended(claim: Claim, status: DeliveryStatus = DeliveryStatus.delivered) -> StoredDelivery:
    return claim.delivery.model_copy(update={"status": status, "next_at": None, "attempts": 1})


def test_an_event_is_queued_once_for_an_endpoint(deliveries: DeliveryStore) -> None:
    assert deliveries.add("wh_a", made("evt_1"))
    assert not deliveries.add("wh_a", made("evt_1"))
    assert deliveries.add("wh_b", made("evt_1"))
    assert not deliveries.add("wh_none", made("evt_1"))
    assert len(deliveries.page("wh_a", 9)) == 1
    assert deliveries.page("wh_none", 9) == []


def test_even_after_it_was_delivered(deliveries: DeliveryStore) -> None:
    deliveries.add("wh_a", made("evt_1"))
    claim = deliveries.claim()
    assert claim is not None
    assert deliveries.record(claim, ended(claim))
    assert not deliveries.add("wh_a", made("evt_1"))
    assert deliveries.claim() is None


def test_one_delivery_at_a_time_per_endpoint_the_oldest_first(deliveries: DeliveryStore) -> None:
    now = time.time()
    for number in (2, 1, 3):
        deliveries.add("wh_a", made(f"evt_{number}", now - 10 + number))
    deliveries.add("wh_b", made("evt_9", now - 5))
    first, second = deliveries.claim(), deliveries.claim()
    assert first is not None
    assert second is not None
    assert [(c.webhook_id, c.delivery.event_id) for c in (first, second)] == [("wh_a", "evt_1"), ("wh_b", "evt_9")]
    assert deliveries.claim() is None
    deliveries.record(first, ended(first))
    third = deliveries.claim()
    assert third is not None
    assert third.delivery.event_id == "evt_2"


def test_a_failed_one_waits_and_holds_up_no_other(deliveries: DeliveryStore) -> None:
    now = time.time()
    deliveries.add("wh_a", made("evt_1", now - 2))
    deliveries.add("wh_a", made("evt_2", now - 1))
    claim = deliveries.claim()
    assert claim is not None
    deliveries.record(claim, claim.delivery.model_copy(update={"next_at": now + 60, "attempts": 1}))
    second = deliveries.claim()
    assert second is not None
    assert second.delivery.event_id == "evt_2"
    deliveries.record(second, ended(second))
    assert deliveries.claim() is None
    later = deliveries.claim(now + 61)
    assert later is not None
    assert (later.delivery.event_id, later.delivery.attempts) == ("evt_1", 1)


def test_a_new_delivery_does_not_end_a_lease(deliveries: DeliveryStore) -> None:
    deliveries.add("wh_a", made("evt_1"))
    assert deliveries.claim() is not None
    deliveries.add("wh_a", made("evt_2"))
    assert deliveries.claim() is None


def test_the_work_of_a_killed_process_is_taken_over(deliveries: DeliveryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_store, "LEASE_SECONDS", 0.3)
    deliveries.add("wh_a", made("evt_1"))
    lost = deliveries.claim()
    assert lost is not None
    assert deliveries.claim() is None
    time.sleep(0.35)
    again = deliveries.claim()
    assert again is not None
    assert again.delivery.event_id == "evt_1"
    assert not deliveries.record(lost, ended(lost, DeliveryStatus.dead))  # it was not killed, only slow
    assert deliveries.record(again, ended(again))
    stored = deliveries.get("wh_a", "evt_1")
    assert stored is not None
    assert stored.status is DeliveryStatus.delivered


def test_many_processes_lose_nothing_and_double_nothing(deliveries: DeliveryStore, redis: Redis) -> None:
    """Six threads with a store each on 200 deliveries that fail once; the leases hold."""
    names = [f"evt_{number}" for number in range(100)]
    for name in names:
        deliveries.add("wh_a", made(name))
        deliveries.add("wh_b", made(name))
    sent: Counter[tuple[str, str, int]] = Counter()
    under_way: Counter[str] = Counter()
    overlaps: list[str] = []
    lock, left = threading.Lock(), threading.Semaphore(0)

    def work() -> None:
        store = DeliveryStore(Redis(connection_pool=redis.connection_pool))
        deadline = time.monotonic() + 120
        while redis.zcard(DUE) and time.monotonic() < deadline:
            claim = store.claim()
            if claim is None:
                continue
            with lock:
                sent[claim.webhook_id, claim.delivery.event_id, claim.delivery.attempts] += 1
                under_way[claim.webhook_id] += 1
                if under_way[claim.webhook_id] > 1:
                    overlaps.append(claim.webhook_id)
            time.sleep(0.001)
            with lock:
                under_way[claim.webhook_id] -= 1
            again = claim.delivery.model_copy(update={"next_at": time.time(), "attempts": 1})
            assert store.record(claim, again if claim.delivery.attempts == 0 else ended(claim))
        left.release()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert left.acquire(blocking=False)
    assert overlaps == []
    assert set(sent.values()) == {1}
    assert set(sent) == {(webhook, name, n) for webhook in ("wh_a", "wh_b") for name in names for n in (0, 1)}
    for webhook in ("wh_a", "wh_b"):
        assert len(deliveries.page(webhook, 200, DeliveryStatus.delivered)) == 100
        assert deliveries.page(webhook, 200, DeliveryStatus.pending) == []


def test_pages(deliveries: DeliveryStore) -> None:
    """Newest first, each once, though several were created at the same moment and have different fates."""
    for number in range(20):
        deliveries.add("wh_a", made(f"evt_{number:02}", 1000.0 + number // 6))
        if number % 3:
            claim = deliveries.claim()
            assert claim is not None
            deliveries.record(claim, ended(claim, DeliveryStatus.dead if number % 3 == 1 else DeliveryStatus.delivered))
    for status in (None, *DeliveryStatus):
        seen: list[StoredDelivery] = []
        while page := deliveries.page("wh_a", 3, status, (seen[-1].created_at, seen[-1].event_id) if seen else None):
            seen += page
        places = [(stored.created_at, stored.event_id) for stored in seen]
        assert places == sorted(places, reverse=True)
        assert len(set(places)) == len(places)
        assert status is None or {stored.status for stored in seen} == {status}
        assert len(places) == {None: 20, "pending": 7, "dead": 7, "delivered": 6}[status]


def test_the_log_is_bounded_and_what_waits_is_not(deliveries: DeliveryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_store, "MOST_ENDED", 3)
    for number in range(12):
        deliveries.add("wh_a", made(f"evt_{number:02}", 1000.0 + number))
    for number in range(10):
        claim = deliveries.claim()
        assert claim is not None
        deliveries.record(claim, ended(claim, DeliveryStatus.dead if number % 2 else DeliveryStatus.delivered))
    kept = [stored.event_id for stored in deliveries.page("wh_a", 99)]
    assert kept == [f"evt_{number:02}" for number in (11, 10, 9, 8, 7, 6, 5, 4)]
    assert deliveries.get("wh_a", "evt_03") is None


def test_replay_starts_anew_once(deliveries: DeliveryStore) -> None:
    deliveries.add("wh_a", made("evt_1", time.time() - 90_000))
    pending = deliveries.get("wh_a", "evt_1")
    assert pending is not None
    assert deliveries.replay("wh_a", pending) is None
    claim = deliveries.claim()
    assert claim is not None
    deliveries.record(claim, ended(claim, DeliveryStatus.dead))
    dead = deliveries.get("wh_a", "evt_1")
    assert dead is not None
    again = deliveries.replay("wh_a", dead)
    assert again is not None
    assert (again.status, again.attempts) == (DeliveryStatus.pending, 0)
    assert again.since == pytest.approx(time.time(), abs=60)
    assert deliveries.replay("wh_a", dead) is None  # two who ask at once
    assert deliveries.page("wh_a", 9, DeliveryStatus.dead) == []
    assert deliveries.claim() is not None
    assert deliveries.claim() is None
    assert deliveries.replay("wh_a", made("evt_unknown")) is None


@pytest.mark.parametrize("damaged", [b"{}", b"\xff"])
def test_an_unreadable_delivery_is_dropped_and_the_next_one_sent(
    deliveries: DeliveryStore, redis: Redis, damaged: bytes
) -> None:
    deliveries.add("wh_a", made("evt_1", 1.0))
    deliveries.add("wh_a", made("evt_2", 2.0))
    redis.hset("tf:webhook:wh_a:deliveries", "evt_1", damaged)
    assert deliveries.claim() is None
    claim = deliveries.claim()
    assert claim is not None
    assert claim.delivery.event_id == "evt_2"
    assert [stored.event_id for stored in deliveries.page("wh_a", 9)] == ["evt_2"]


def test_nothing_is_left_of_a_removed_endpoint(
    deliveries: DeliveryStore, endpoints: EndpointStore, redis: Redis
) -> None:
    """Even when a delivery to it is under way."""
    deliveries.add("wh_a", made("evt_1"))
    deliveries.add("wh_a", made("evt_2"))
    claim, endpoint = deliveries.claim(), endpoints.get("wh_a")
    assert claim is not None
    assert endpoint is not None
    with redis.pipeline() as pipe:
        endpoints.forget(endpoint, pipe)
        deliveries.forget("wh_a", pipe)
        pipe.execute()
    assert not deliveries.record(claim, ended(claim))
    assert not deliveries.add("wh_a", made("evt_3"))
    assert not endpoints.change("wh_a", WebhookChange(enabled=True))
    assert not endpoints.disable(endpoint, "gone")
    assert endpoints.rotate("wh_a", "whsec_x") is None
    assert list(redis.scan_iter("tf:webhook:wh_a*")) == []
    assert [found.id for found in endpoints.of(OWNER)] == ["wh_b"]
    assert redis.zcard(DUE) == 0


# --- endpoints ----------------------------------------------------------------------------------------


def test_secrets_overlap_for_a_day(endpoints: EndpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints.create("wh_a", OWNER, REQUEST, "whsec_1")
    assert endpoints.secrets("wh_a") == ["whsec_1"]
    until = endpoints.rotate("wh_a", "whsec_2")
    assert until == pytest.approx(time.time() + 86400, abs=60)
    assert endpoints.secrets("wh_a") == ["whsec_2", "whsec_1"]
    endpoints.rotate("wh_a", "whsec_3")  # the answer to the first one was lost
    assert set(endpoints.secrets("wh_a")) == {"whsec_1", "whsec_2", "whsec_3"}
    assert endpoints.secrets("wh_a")[0] == "whsec_3"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86400)
    assert endpoints.secrets("wh_a") == ["whsec_3"]


def test_so_many_secrets_and_no_more(endpoints: EndpointStore) -> None:
    endpoints.create("wh_a", OWNER, REQUEST, "whsec_0")
    for number in range(1, 20):
        endpoints.rotate("wh_a", f"whsec_{number}")
    assert len(endpoints.secrets("wh_a")) == rotating_secrets.MOST_SECRETS
    assert endpoints.secrets("wh_a")[0] == "whsec_19"


def test_so_many_endpoints_and_no_more(endpoints: EndpointStore) -> None:
    done = [endpoints.create(f"wh_{n}", OWNER, REQUEST, "whsec_x") for n in range(MOST_OF_ONE_OWNER + 2)]
    assert done == [True] * MOST_OF_ONE_OWNER + [False] * 2
    assert endpoints.create("wh_other", "another", REQUEST, "whsec_x")
    assert endpoints.get("wh_51") is None


def test_an_endpoint_whose_making_was_interrupted_is_made_again(endpoints: EndpointStore) -> None:
    """Nobody saw the first secret; and the last place is not counted twice."""
    for number in range(MOST_OF_ONE_OWNER):
        assert endpoints.create(f"wh_{number}", OWNER, REQUEST, "whsec_1")
    assert endpoints.create("wh_0", OWNER, REQUEST, "whsec_2")
    assert endpoints.secrets("wh_0") == ["whsec_2"]
    assert len(endpoints.of(OWNER)) == MOST_OF_ONE_OWNER


def test_gone_disables_the_url_that_said_so(endpoints: EndpointStore) -> None:
    endpoints.create("wh_a", OWNER, REQUEST, "whsec_x")
    seen = endpoints.get("wh_a")
    assert seen is not None
    endpoints.change("wh_a", WebhookChange(url="https://example.org/"))
    assert not endpoints.disable(seen, "gone")
    moved = endpoints.get("wh_a")
    assert moved is not None
    assert endpoints.disable(moved, "gone")
    disabled = endpoints.get("wh_a")
    assert disabled is not None
    assert (disabled.enabled, disabled.disabled_reason) == (False, "gone")
    endpoints.change("wh_a", WebhookChange(enabled=True))
    enabled = endpoints.get("wh_a")
    assert enabled is not None
    assert (enabled.enabled, enabled.disabled_reason) == (True, None)
