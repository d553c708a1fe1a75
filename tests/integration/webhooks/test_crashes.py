"""Processes that die at the wrong moment, and several that do the same work: no end of a scan goes untold."""

from __future__ import annotations

import signal
import time

import pytest
from redis import Redis

from tests.support.ended_scans import finish, scan
from tests.support.receiver import Receiver, receiving
from tests.support.sending import deliverer, sending
from tests.support.stack_process import wait_until
from tokenforce import Client, DeliveryStatus
from tokenforce.wire.scans import ScanStatus
from tokenforce_core.scans.store import Store
from tokenforce_core.scans.unannounced_ends import unannounced_ends
from tokenforce_service.scans.reaper import Reaper
from tokenforce_service.webhooks.delivery_store import DeliveryStore, StoredDelivery
from tokenforce_service.webhooks.emission import Emission


def test_a_process_that_dies_between_the_status_and_what_follows(
    sdk: Client, store: Store, redis: Redis, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk.webhooks.create(url=receiver.url)
    scan_id = scan(store)

    def die(_: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store, "settle", die)
        with pytest.raises(KeyboardInterrupt):
            finish(store, scan_id)
    assert store.status(scan_id) is ScanStatus.succeeded
    assert unannounced_ends(redis, 9) == []
    Reaper(store).reap()
    Reaper(store).reap()
    with sending(redis):
        wait_until(lambda: receiver.received)
        wait_until(lambda: not unannounced_ends(redis, 1))
    assert len(receiver.received) == 1


def test_a_process_that_dies_while_it_tells(
    sdk: Client, store: Store, redis: Redis, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sdk.webhooks.create(url=receiver.url)
    scan_id = scan(store)
    store.cancel(scan_id)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tokenforce_service.webhooks.emission.note_announced", die)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                Emission(store).announce_ends()
    with sending(redis):
        wait_until(lambda: receiver.received)
        wait_until(lambda: not unannounced_ends(redis, 1))
        store.settle(scan_id)  # the reaper, which looked a moment earlier
        wait_until(lambda: not unannounced_ends(redis, 1))
    assert len(receiver.received) == len(list(sdk.webhooks.deliveries(made.id))) == 1


@pytest.mark.parametrize("spoilt", ["request", "created_at"])
def test_a_scan_that_cannot_be_read_holds_up_no_other(
    sdk: Client, store: Store, redis: Redis, receiver: Receiver, caplog: pytest.LogCaptureFixture, spoilt: str
) -> None:
    sdk.webhooks.create(url=receiver.url)
    broken, good = scan(store), scan(store)
    store.cancel(broken)
    if spoilt == "request":
        redis.hset(f"tf:scan:{broken}", "request", "{}")
    else:
        redis.hdel(f"tf:scan:{broken}", spoilt)
    store.settle("scan_that_expired")
    store.cancel(good)
    with sending(redis):
        wait_until(lambda: receiver.received)
        wait_until(lambda: not unannounced_ends(redis, 1))
    assert good.encode() in receiver.received[0].body
    assert f"no webhook for the scan {broken}" in caplog.text


def test_what_is_queued_is_sent_though_ends_cannot_be_told(
    sdk: Client, redis: Redis, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(_: Emission) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Emission, "announce_ends", fault)
    sdk.webhooks.test(sdk.webhooks.create(url=receiver.url).id)
    with sending(redis):
        wait_until(lambda: receiver.received)


def test_a_fault_of_ours_is_an_attempt_and_not_tried_without_end(sdk: Client, redis: Redis, receiver: Receiver) -> None:
    made = sdk.webhooks.create(url=receiver.url)
    queued = sdk.webhooks.test(made.id)
    redis.hdel(f"tf:webhook:{made.id}", "url")
    deliveries = DeliveryStore(redis)

    def delivery() -> StoredDelivery:
        found = deliveries.get(made.id, queued.id)
        assert found is not None
        return found

    with sending(redis):
        wait_until(lambda: delivery().attempts)
    assert delivery().log[0].error == "an error of the service; its log has details"
    assert delivery().status is DeliveryStatus.pending
    assert receiver.received == []


def test_two_senders_send_each_webhook_once(sdk: Client, store: Store, redis: Redis, receiver: Receiver) -> None:
    sdk.webhooks.create(url=receiver.url)
    receiver.seconds = 0.01
    scans = [scan(store) for _ in range(40)]
    with sending(redis), sending(redis):
        for scan_id in scans:
            store.cancel(scan_id)
        wait_until(lambda: len(receiver.received) >= 40, 60)
        wait_until(lambda: not unannounced_ends(redis, 1))
    ids = receiver.ids()
    assert (len(ids), len(set(ids))) == (40, 40)
    assert receiver.most_at_once == 1


def test_a_slow_receiver_holds_up_nobody_else(sdk: Client, redis: Redis, receiver: Receiver) -> None:
    with receiving() as slow:
        slow.seconds = 4
        hostile = sdk.webhooks.create(url=slow.url)
        for _ in range(100):
            sdk.webhooks.test(hostile.id)
        made = sdk.webhooks.create(url=receiver.url)
        started = time.monotonic()
        with sending(redis):
            wait_until(lambda: slow.received)
            sdk.webhooks.test(made.id)
            wait_until(lambda: receiver.received, 3.5)
            assert time.monotonic() - started < 4
        sdk.webhooks.remove(hostile.id)


def test_the_work_of_a_killed_deliverer_is_taken_over(
    sdk: Client, redis: Redis, server_url: str, receiver: Receiver
) -> None:
    made = sdk.webhooks.create(url=receiver.url)
    receiver.seconds = 3
    queued = sdk.webhooks.test(made.id)
    with deliverer(server_url) as first:
        wait_until(lambda: receiver.received, 60)
        first.send_signal(signal.SIGKILL)
        first.wait(20)
    assert sdk.webhooks.delivery(made.id, queued.id).status is DeliveryStatus.pending
    receiver.seconds = 0
    with deliverer(server_url) as second:
        wait_until(lambda: sdk.webhooks.delivery(made.id, queued.id).status is DeliveryStatus.delivered, 60)
        second.terminate()
        assert second.wait(30) == 0
    assert receiver.ids() == [queued.id] * 2
