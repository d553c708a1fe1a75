"""At least once: retries, dead letters, replay, endpoints that are gone or disabled, rotated secrets."""

from __future__ import annotations

import time

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.ended_scans import scan, verified
from tests.support.receiver import Receiver
from tests.support.sending import sending
from tests.support.stack_process import wait_until
from tokenforce import Client, Conflict, DeliveryStatus
from tokenforce_core.scans.store import Store
from tokenforce_core.scans.unannounced_ends import unannounced_ends
from tokenforce_service.webhooks import backoff


@pytest.mark.usefixtures("fast")
def test_retries_have_one_id_and_fresh_signatures(sdk: Client, redis: Redis, receiver: Receiver) -> None:
    made = sdk.webhooks.create(url=receiver.url)
    receiver.script = [(500, {}), (302, {"Location": "http://169.254.169.254/"}), (503, {"Retry-After": "1"})]
    queued = sdk.webhooks.test(made.id)
    with sending(redis):
        wait_until(lambda: sdk.webhooks.delivery(made.id, queued.id).status is DeliveryStatus.delivered)
    assert receiver.ids() == [queued.id] * 4
    assert len({request.body for request in receiver.received}) == 1
    assert {verified(request, made.secret).id for request in receiver.received} == {queued.id}
    assert receiver.received[3].at - receiver.received[2].at >= 1
    stamps = [int(request.headers["webhook-timestamp"]) for request in receiver.received]
    assert stamps[3] > stamps[0]
    log = sdk.webhooks.delivery(made.id, queued.id).log
    assert [attempt.status_code for attempt in log] == [500, 302, 503, 200]
    assert [attempt.excerpt for attempt in log] == ["answer 500", "answer 302", "answer 503", None]


@pytest.mark.usefixtures("fast")
def test_dead_letters_are_listed_and_replayed(
    http: TestClient, sdk: Client, redis: Redis, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "GIVE_UP_AFTER_SECONDS", 0.3)
    made = sdk.webhooks.create(url=receiver.url)
    receiver.script = [(500, {})] * 10_000
    queued = sdk.webhooks.test(made.id)
    with sending(redis):
        wait_until(lambda: list(sdk.webhooks.deliveries(made.id, status="dead")))
        (dead,) = sdk.webhooks.deliveries(made.id, status="dead")
        assert (dead.id, dead.next_attempt_at) == (queued.id, None)
        assert dead.attempts == len(receiver.received) > 1
        assert list(sdk.webhooks.deliveries(made.id, status="pending")) == []
        receiver.script = []
        assert sdk.webhooks.replay(made.id, dead.id).status is DeliveryStatus.pending
        wait_until(lambda: sdk.webhooks.delivery(made.id, dead.id).status is DeliveryStatus.delivered)
    assert set(receiver.ids()) == {queued.id}
    assert list(sdk.webhooks.deliveries(made.id, status="dead")) == []
    counts = http.get("/metrics").text
    for outcome, number in (("retried", dead.attempts - 1), ("dead", 1), ("delivered", 1)):
        assert f'tokenforce_webhook_attempts_total{{outcome="{outcome}"}} {number}.0' in counts


def test_gone_disables_the_endpoint(sdk: Client, store: Store, redis: Redis, receiver: Receiver) -> None:
    made = sdk.webhooks.create(url=receiver.url)
    receiver.script = [(410, {})]
    sdk.webhooks.test(made.id)
    with sending(redis):
        wait_until(lambda: not sdk.webhooks.get(made.id).enabled)
        wait_until(lambda: list(sdk.webhooks.deliveries(made.id, status="dead")))
        store.cancel(scan(store))
        wait_until(lambda: not unannounced_ends(redis, 1))
    assert "410 Gone" in (sdk.webhooks.get(made.id).disabled_reason or "")
    assert len(receiver.received) == len(list(sdk.webhooks.deliveries(made.id))) == 1
    with pytest.raises(Conflict, match="enable it first"):
        sdk.webhooks.test(made.id)
    (dead,) = sdk.webhooks.deliveries(made.id)
    with pytest.raises(Conflict, match="enable it first"):
        sdk.webhooks.replay(made.id, dead.id)
    assert sdk.webhooks.change(made.id, enabled=True).disabled_reason is None
    sdk.webhooks.replay(made.id, dead.id)
    with pytest.raises(Conflict, match="is pending; GET it"):
        sdk.webhooks.replay(made.id, dead.id)


def test_what_waits_for_a_disabled_endpoint_is_not_sent(sdk: Client, redis: Redis, receiver: Receiver) -> None:
    made = sdk.webhooks.create(url=receiver.url)
    sdk.webhooks.test(made.id)
    sdk.webhooks.change(made.id, enabled=False)
    with sending(redis):
        wait_until(lambda: list(sdk.webhooks.deliveries(made.id, status="dead")))
    (dead,) = sdk.webhooks.deliveries(made.id, status="dead")
    assert "disabled; enable it and replay" in (dead.log[-1].error or "")
    assert receiver.received == []


def test_rotation_signs_with_both(sdk: Client, redis: Redis, receiver: Receiver) -> None:
    made = sdk.webhooks.create(url=receiver.url)
    rotated = sdk.webhooks.rotate(made.id)
    assert rotated.secret != made.secret
    assert rotated.previous_secrets_until is not None
    assert rotated.previous_secrets_until.timestamp() == pytest.approx(time.time() + 86400, abs=60)
    sdk.webhooks.test(made.id)
    with sending(redis):
        wait_until(lambda: receiver.received)
    (request,) = receiver.received
    assert request.headers["webhook-signature"].count(" ") == 1
    assert verified(request, made.secret) == verified(request, rotated.secret)


def test_an_address_that_is_not_allowed_any_more_is_not_called(sdk: Client, redis: Redis, receiver: Receiver) -> None:
    """The operator's range is smaller at the next start: the check at the connection decides."""
    made = sdk.webhooks.create(url=receiver.url)
    redis.hset(f"tf:webhook:{made.id}", "url", "http://169.254.169.254/latest/meta-data/")
    queued = sdk.webhooks.test(made.id)
    with sending(redis):
        wait_until(lambda: sdk.webhooks.delivery(made.id, queued.id).attempts)
    assert "public addresses only" in (sdk.webhooks.delivery(made.id, queued.id).log[0].error or "")
