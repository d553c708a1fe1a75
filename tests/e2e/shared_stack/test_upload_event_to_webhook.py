"""From a recorded upload event of the Hub to a signed webhook that its receiver verifies with the SDK. All is real
except the hub, which serves one model.
"""

from __future__ import annotations

import httpx
import pytest

from tests.support.model_hub import COMMIT
from tests.support.receiver import Received, receiving
from tests.support.scanning import ended
from tests.support.stack_process import RunningStack, wait_until
from tests.support.uploads import recorded
from tokenforce import (
    Client,
    Decision,
    HookAction,
    HookAnswer,
    HookKind,
    WebhookEvent,
    WebhookVerificationError,
    verify_webhook,
)


def test_a_push_to_the_hub_ends_in_a_verified_webhook(stack: RunningStack, client: Client) -> None:
    with receiving() as receiver:
        webhook = client.webhooks.create(url=f"{receiver.url}/audited")
        policy = {"repos": ["org/*"], "contexts": ["assistant_system"], "block_on": ["suspicious"], "review_on": []}
        hook = client.hooks.create(kind=HookKind.huggingface, policy=policy)
        posted = [
            httpx.post(
                stack.url + hook.url,
                content=recorded("content_update"),
                headers={"X-Webhook-Secret": hook.secret, "Content-Type": "application/json"},
            )
            for _ in range(2)
        ]
        assert [answer.status_code for answer in posted] == [202, 202], posted[0].text
        first, again = (HookAnswer.model_validate_json(answer.content) for answer in posted)
        assert (first.action, again.action) == (HookAction.started, HookAction.known)
        assert first.scan_id is not None
        assert again.scan_id == first.scan_id
        scan = ended(client, first.scan_id)
        assert (scan.model, scan.hook_id) == (f"org/tiny@{COMMIT}", hook.id)

        def of_the_push() -> list[tuple[Received, WebhookEvent]]:
            """Other tests' scans may have ended a moment before."""
            events = [(each, verify_webhook(each.body, each.headers, webhook.secret)) for each in receiver.received]
            return [(each, event) for each, event in events if event.scan and event.scan.scan_id == first.scan_id]

        wait_until(of_the_push, 30, lambda: stack.log("deliverer"))
        ((request, event),) = of_the_push()
        assert event.scan is not None
        assert event.scan.audit is not None
        assert event.scan.audit == client.scans.audit(first.scan_id)
        assert (event.type, event.scan.audit.decision) == ("scan.succeeded", Decision.block)
        report = client.scans.report(first.scan_id)
        assert report.scan.reused_from is None
        assert report.findings
        assert report.findings[0].text.encode() not in request.body
        with pytest.raises(WebhookVerificationError):
            verify_webhook(request.body.replace(b"block", b"allow"), request.headers, webhook.secret)
        client.webhooks.remove(webhook.id)
        client.hooks.remove(hook.id)
