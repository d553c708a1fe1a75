"""From the end of a scan to a receiver that verifies the webhook with the SDK: gateway, store, sender, all real."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.ended_scans import finish, scan, verified
from tests.support.receiver import Receiver, receiving
from tests.support.sending import sending
from tests.support.stack_process import wait_until
from tokenforce import Client, DeliveryStatus
from tokenforce.sdk.errors import WebhookVerificationError
from tokenforce.wire.problems import Problem
from tokenforce_core.scans.store import Store

PROBLEM = Problem(title="t", status=500, detail="It broke; try again.", code="engine_failed", request_id="req_1")


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
        wait_until(lambda: receiver.received)
    (request,) = receiver.received
    event = verified(request, made.secret)
    assert (request.path, request.headers["content-type"]) == ("/hook", "application/json")
    assert (event.type, event.id) == (f"scan.{status}", request.headers["webhook-id"])
    assert event.scan is not None
    seen = sdk.scans.get(scan_id)
    assert (event.scan.scan_id, event.scan.status, event.scan.model) == (scan_id, status, "/models/upload-17")
    assert event.timestamp == seen.finished_at
    assert event.scan.links == seen.links
    assert event.scan.verdict == seen.verdict
    if status == "succeeded":
        assert [(match.owner, match.licence) for match in event.scan.licences] == [("Example Labs", "L 1.0")]
        assert b"a hidden text" not in request.body
    if status == "failed":
        assert event.scan.error is not None
        assert event.scan.error.model_dump() == PROBLEM.model_dump(include={"code", "detail", "request_id"})
    (delivery,) = sdk.webhooks.deliveries(made.id)
    assert (delivery.status, delivery.attempts, delivery.payload) == (DeliveryStatus.delivered, 1, None)
    assert [(attempt.status_code, attempt.error, attempt.excerpt) for attempt in delivery.log] == [(200, None, None)]
    assert (sdk.webhooks.delivery(made.id, delivery.id).payload or {})["type"] == event.type
    with pytest.raises(WebhookVerificationError):
        verified(request, sdk.webhooks.create(url=receiver.url).secret)


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
            wait_until(lambda: wants.received)
        assert [ours.encode() in request.body for request in wants.received] == [True]
        assert wants_not.received == disabled.received == []


def test_a_test_event(sdk: Client, redis: Redis, receiver: Receiver) -> None:
    made = sdk.webhooks.create(url=receiver.url, events=["scan.failed"])
    queued = sdk.webhooks.test(made.id)
    assert queued.status is DeliveryStatus.pending
    with sending(redis):
        wait_until(lambda: sdk.webhooks.delivery(made.id, queued.id).status is DeliveryStatus.delivered)
    event = verified(receiver.received[0], made.secret)
    assert (event.id, event.type, event.data["webhook_id"]) == (queued.id, "webhook.test", made.id)
    assert event.scan is None


def test_secrets_and_urls_are_not_logged_nor_shown_again(
    http: TestClient, sdk: Client, redis: Redis, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    made = sdk.webhooks.create(url=receiver.url + "/?token=very-private")
    rotated = sdk.webhooks.rotate(made.id)
    receiver.script = [(500, {})]
    sdk.webhooks.test(made.id)
    with sending(redis):
        wait_until(lambda: receiver.received)
        wait_until(lambda: sdk.webhooks.delivery(made.id, receiver.ids()[0]).attempts)
    sdk.webhooks.change(made.id, description="x")
    paths = ["", f"/{made.id}", f"/{made.id}/deliveries", f"/{made.id}/deliveries/{receiver.ids()[0]}"]
    shown = "".join(http.get(f"/v1/webhooks{path}").text for path in paths)
    for secret in (made.secret, rotated.secret):
        assert secret.startswith("whsec_")
        for text in (shown, caplog.text):
            assert secret.removeprefix("whsec_") not in text
    assert "very-private" not in "".join(r.getMessage() for r in caplog.records if r.name.startswith("tokenforce"))
