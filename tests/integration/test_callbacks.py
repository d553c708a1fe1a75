"""From the end of a scan to a receiver that verifies the callback with the SDK: gateway, store, sender, all real."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, cast

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.keys import bearer
from tests.support.receiver import Received, Receiver, receiving
from tests.support.scan_results import example_report
from tests.support.sending import LOOPBACK, deliverer, sending
from tests.support.stack_process import wait_until
from tokenforce import Client, Conflict, DeliveryStatus, WebhookEvent, verify_webhook
from tokenforce.api_keys import Scope
from tokenforce.errors import WebhookVerificationError
from tokenforce.evidence import LicenceMatch
from tokenforce.types import Problem, ScanRequest, ScanStatus
from tokenforce_core.store import Store
from tokenforce_core.untold_ends import untold_ends
from tokenforce_service.app import create_app
from tokenforce_service.reaper import Reaper
from tokenforce_service.settings import ServiceSettings
from tokenforce_service.webhooks import retrying
from tokenforce_service.webhooks.emission import Emission

PROBLEM = Problem(title="t", status=500, detail="It broke; try again.", code="engine_failed")
OWNER = "market"
_numbers = itertools.count()


@pytest.fixture
def http(redis: Redis) -> Iterator[TestClient]:
    app = create_app(ServiceSettings(callback_allow=LOOPBACK, callback_http=True), redis)
    with TestClient(app, headers=bearer(redis, Scope.hooks, Scope.scans_read, owner=OWNER)) as client:
        yield client


@pytest.fixture
def sdk(http: TestClient) -> Iterator[Client]:
    with Client(http_client=cast(Any, http)) as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come within milliseconds."""
    monkeypatch.setattr(retrying, "SHORTEST_PAUSE", 0.0)
    monkeypatch.setattr(retrying, "FIRST_PAUSE", 0.01)


def scan(store: Store, owner: str = OWNER) -> str:
    """A scan of which only the report is missing."""
    scan_id = f"scan_{next(_numbers)}"
    store.create(scan_id, ScanRequest(model="/models/upload-17"), owner)
    store.advance(scan_id, ScanStatus.aggregating, ScanStatus.queued)
    return scan_id


def finish(store: Store, scan_id: str) -> None:
    match = LicenceMatch(fingerprint="fp_1", owner="Example Labs", licence="L 1.0", match="finding")
    report = example_report(scan_id, reasons=["a hidden text"]).model_copy(update={"licences": [match]})
    assert store.finish(scan_id, report)


def verified(callback: Received, secret: str) -> WebhookEvent:
    return verify_webhook(callback.body, callback.headers, secret)


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    wait_until(condition, seconds)


# --- what is told -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "status"), [(finish, "succeeded"), (lambda s, i: s.fail(i, PROBLEM), "failed"), (Store.cancel, "cancelled")]
)
def test_the_end_of_a_scan_is_told(
    end: Callable[[Store, str], object], status: str, sdk: Client, store: Store, redis: Redis, receiver: Receiver
) -> None:
    made = sdk.webhooks.create(url=receiver.url + "/hook")
    scan_id = scan(store)
    end(store, scan_id)
    with sending(redis):
        until(lambda: receiver.received)
    (callback,) = receiver.received
    event = verified(callback, made.secret)
    assert (callback.path, callback.headers["content-type"]) == ("/hook", "application/json")
    assert (event.type, event.id) == (f"scan.{status}", callback.headers["webhook-id"])
    assert event.scan is not None
    seen = sdk.scans.get(scan_id)
    assert (event.scan.scan_id, event.scan.status, event.scan.model) == (scan_id, status, "/models/upload-17")
    assert event.timestamp == seen.finished_at
    assert event.scan.links == seen.links
    assert event.scan.verdict == seen.verdict
    if status == "succeeded":
        assert [(match.owner, match.licence) for match in event.scan.licences] == [("Example Labs", "L 1.0")]
        assert b"a hidden text" not in callback.body
    if status == "failed":
        assert event.scan.error is not None
        assert (event.scan.error.code, event.scan.error.detail) == (PROBLEM.code, PROBLEM.detail)
    (delivery,) = sdk.webhooks.deliveries(made.id)
    assert (delivery.status, delivery.attempts, delivery.payload) == (DeliveryStatus.delivered, 1, None)
    assert [(attempt.status_code, attempt.error, attempt.excerpt) for attempt in delivery.log] == [(200, None, None)]
    assert (sdk.webhooks.delivery(made.id, delivery.id).payload or {})["type"] == event.type
    with pytest.raises(WebhookVerificationError):
        verified(callback, sdk.webhooks.create(url=receiver.url).secret)


def test_only_those_who_asked_are_told(sdk: Client, store: Store, redis: Redis) -> None:
    with ExitStack() as stack:
        wants, wants_not, disabled = (stack.enter_context(receiving()) for _ in range(3))
        sdk.webhooks.create(url=wants.url, events=["scan.cancelled", "scan.failed", "scan.failed"])
        sdk.webhooks.create(url=wants_not.url, events=["scan.succeeded"])
        sdk.webhooks.change(sdk.webhooks.create(url=disabled.url).id, enabled=False)
        ours, theirs = scan(store), scan(store, "somebody else")
        for scan_id in (theirs, ours):
            store.cancel(scan_id)
        with sending(redis):
            until(lambda: wants.received)
        assert [ours.encode() in callback.body for callback in wants.received] == [True]
        assert wants_not.received == disabled.received == []


def test_a_test_event(sdk: Client, redis: Redis, receiver: Receiver) -> None:
    made = sdk.webhooks.create(url=receiver.url, events=["scan.failed"])
    queued = sdk.webhooks.test(made.id)
    assert queued.status is DeliveryStatus.pending
    with sending(redis):
        until(lambda: sdk.webhooks.delivery(made.id, queued.id).status is DeliveryStatus.delivered)
    event = verified(receiver.received[0], made.secret)
    assert (event.id, event.type, event.data["webhook_id"]) == (queued.id, "webhook.test", made.id)
    assert event.scan is None


# --- at least once ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fast")
def test_retries_have_one_id_and_fresh_signatures(sdk: Client, redis: Redis, receiver: Receiver) -> None:
    made = sdk.webhooks.create(url=receiver.url)
    receiver.script = [(500, {}), (302, {"Location": "http://169.254.169.254/"}), (503, {"Retry-After": "1"})]
    queued = sdk.webhooks.test(made.id)
    with sending(redis):
        until(lambda: sdk.webhooks.delivery(made.id, queued.id).status is DeliveryStatus.delivered)
    assert receiver.ids() == [queued.id] * 4
    assert len({callback.body for callback in receiver.received}) == 1
    assert {verified(callback, made.secret).id for callback in receiver.received} == {queued.id}
    assert receiver.received[3].at - receiver.received[2].at >= 1
    stamps = [int(callback.headers["webhook-timestamp"]) for callback in receiver.received]
    assert stamps[3] > stamps[0]
    log = sdk.webhooks.delivery(made.id, queued.id).log
    assert [attempt.status_code for attempt in log] == [500, 302, 503, 200]
    assert [attempt.excerpt for attempt in log] == ["answer 500", "answer 302", "answer 503", None]


@pytest.mark.usefixtures("fast")
def test_dead_letters_are_listed_and_replayed(
    http: TestClient, sdk: Client, redis: Redis, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "GIVE_UP_AFTER", 0.3)
    made = sdk.webhooks.create(url=receiver.url)
    receiver.script = [(500, {})] * 10_000
    queued = sdk.webhooks.test(made.id)
    with sending(redis):
        until(lambda: list(sdk.webhooks.deliveries(made.id, status="dead")))
        (dead,) = sdk.webhooks.deliveries(made.id, status="dead")
        assert (dead.id, dead.next_attempt_at) == (queued.id, None)
        assert dead.attempts == len(receiver.received) > 1
        assert list(sdk.webhooks.deliveries(made.id, status="pending")) == []
        receiver.script = []
        assert sdk.webhooks.replay(made.id, dead.id).status is DeliveryStatus.pending
        until(lambda: sdk.webhooks.delivery(made.id, dead.id).status is DeliveryStatus.delivered)
    assert set(receiver.ids()) == {queued.id}
    assert list(sdk.webhooks.deliveries(made.id, status="dead")) == []
    counts = http.get("/metrics").text
    for outcome, number in (("retried", dead.attempts - 1), ("dead", 1), ("delivered", 1)):
        assert f'tokenforce_callback_attempts_total{{outcome="{outcome}"}} {number}.0' in counts


def test_gone_disables_the_endpoint(sdk: Client, store: Store, redis: Redis, receiver: Receiver) -> None:
    made = sdk.webhooks.create(url=receiver.url)
    receiver.script = [(410, {})]
    sdk.webhooks.test(made.id)
    with sending(redis):
        until(lambda: not sdk.webhooks.get(made.id).enabled)
        until(lambda: list(sdk.webhooks.deliveries(made.id, status="dead")))
        store.cancel(scan(store))
        until(lambda: not untold_ends(redis, 1))
    assert "410 Gone" in (sdk.webhooks.get(made.id).disabled_reason or "")
    assert len(receiver.received) == len(list(sdk.webhooks.deliveries(made.id))) == 1
    with pytest.raises(Conflict, match="enable it first"):
        sdk.webhooks.test(made.id)
    (dead,) = sdk.webhooks.deliveries(made.id)
    with pytest.raises(Conflict, match="enable it first"):
        sdk.webhooks.replay(made.id, dead.id)
    assert sdk.webhooks.change(made.id, enabled=True).disabled_reason is None
    sdk.webhooks.replay(made.id, dead.id)
    with pytest.raises(Conflict, match="pending already"):
        sdk.webhooks.replay(made.id, dead.id)


def test_what_waits_for_a_disabled_endpoint_is_not_sent(sdk: Client, redis: Redis, receiver: Receiver) -> None:
    made = sdk.webhooks.create(url=receiver.url)
    sdk.webhooks.test(made.id)
    sdk.webhooks.change(made.id, enabled=False)
    with sending(redis):
        until(lambda: list(sdk.webhooks.deliveries(made.id, status="dead")))
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
        until(lambda: receiver.received)
    (callback,) = receiver.received
    assert callback.headers["webhook-signature"].count(" ") == 1
    assert verified(callback, made.secret) == verified(callback, rotated.secret)


def test_an_address_that_is_not_allowed_any_more_is_not_called(sdk: Client, redis: Redis, receiver: Receiver) -> None:
    """The operator's range is smaller at the next start: the check at the connection decides."""
    made = sdk.webhooks.create(url=receiver.url)
    redis.hset(f"tf:webhook:{made.id}", "url", "http://169.254.169.254/latest/meta-data/")
    queued = sdk.webhooks.test(made.id)
    with sending(redis):
        until(lambda: sdk.webhooks.delivery(made.id, queued.id).attempts)
    assert "public addresses only" in (sdk.webhooks.delivery(made.id, queued.id).log[0].error or "")


# --- crashes ------------------------------------------------------------------------------------------


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
    assert untold_ends(redis, 9) == []
    Reaper(store).reap()
    Reaper(store).reap()
    with sending(redis):
        until(lambda: receiver.received)
        until(lambda: not untold_ends(redis, 1))
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
        patched.setattr("tokenforce_service.webhooks.emission.note_told", die)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                Emission(store).tell_ended()
    with sending(redis):
        until(lambda: receiver.received)
        until(lambda: not untold_ends(redis, 1))
        store.settle(scan_id)  # the reaper, which looked a moment earlier
        until(lambda: not untold_ends(redis, 1))
    assert len(receiver.received) == len(list(sdk.webhooks.deliveries(made.id))) == 1


def test_a_scan_that_cannot_be_read_holds_up_no_other(
    sdk: Client, store: Store, redis: Redis, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    sdk.webhooks.create(url=receiver.url)
    broken, good = scan(store), scan(store)
    store.cancel(broken)
    redis.hset(f"tf:scan:{broken}", "request", "{}")
    store.settle("scan_that_expired")
    store.cancel(good)
    with sending(redis):
        until(lambda: receiver.received)
        until(lambda: not untold_ends(redis, 1))
    assert good.encode() in receiver.received[0].body
    assert f"no callback for the scan {broken}" in caplog.text


def test_two_senders_send_each_callback_once(sdk: Client, store: Store, redis: Redis, receiver: Receiver) -> None:
    sdk.webhooks.create(url=receiver.url)
    receiver.seconds = 0.01
    scans = [scan(store) for _ in range(40)]
    with sending(redis), sending(redis):
        for scan_id in scans:
            store.cancel(scan_id)
        until(lambda: len(receiver.received) >= 40, 60)
        until(lambda: not untold_ends(redis, 1))
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
            until(lambda: slow.received)
            sdk.webhooks.test(made.id)
            until(lambda: receiver.received, 3.5)
            assert time.monotonic() - started < 4
        sdk.webhooks.remove(hostile.id)


def test_the_work_of_a_killed_deliverer_is_taken_over(
    sdk: Client, redis: Redis, server_url: str, receiver: Receiver
) -> None:
    made = sdk.webhooks.create(url=receiver.url)
    receiver.seconds = 3
    queued = sdk.webhooks.test(made.id)
    with deliverer(server_url) as first:
        until(lambda: receiver.received, 60)
        first.send_signal(signal.SIGKILL)
        first.wait(20)
    assert sdk.webhooks.delivery(made.id, queued.id).status is DeliveryStatus.pending
    receiver.seconds = 0
    with deliverer(server_url) as second:
        until(lambda: sdk.webhooks.delivery(made.id, queued.id).status is DeliveryStatus.delivered, 60)
        second.terminate()
        assert second.wait(30) == 0
    assert receiver.ids() == [queued.id] * 2


# --- secrets ------------------------------------------------------------------------------------------


def test_secrets_and_urls_are_not_logged_nor_shown_again(
    http: TestClient, sdk: Client, redis: Redis, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    made = sdk.webhooks.create(url=receiver.url + "/?token=very-private")
    rotated = sdk.webhooks.rotate(made.id)
    receiver.script = [(500, {})]
    sdk.webhooks.test(made.id)
    with sending(redis):
        until(lambda: receiver.received)
        until(lambda: sdk.webhooks.delivery(made.id, receiver.ids()[0]).attempts)
    sdk.webhooks.change(made.id, description="x")
    paths = ["", f"/{made.id}", f"/{made.id}/deliveries", f"/{made.id}/deliveries/{receiver.ids()[0]}"]
    shown = "".join(http.get(f"/v1/webhooks{path}").text for path in paths)
    for secret in (made.secret, rotated.secret):
        assert secret.startswith("whsec_")
        for text in (shown, caplog.text):
            assert secret.removeprefix("whsec_") not in text
    assert "very-private" not in "".join(r.getMessage() for r in caplog.records if r.name.startswith("tokenforce"))
