"""From a recorded webhook of the Hub to a signed callback that its receiver verifies with the SDK: everything real but
the hub, which serves one model.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.support.model_hub import COMMIT, model_hub
from tests.support.receiver import receiving
from tests.support.stack_process import wait_until, whole_stack
from tests.support.uploads import recorded
from tokenforce import Client, Decision, HookAction, HookAnswer, HookKind, WebhookVerificationError, verify_webhook


def test_a_push_to_the_hub_ends_in_a_verified_callback(planted_model: Path, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with model_hub(planted_model) as (hub, _fetched), receiving() as receiver:
        settings = {
            "HF_ENDPOINT": hub,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "*",
            "TOKENFORCE_CALLBACK_ALLOW": '["127.0.0.0/8"]',
            "TOKENFORCE_CALLBACK_HTTP": "true",
            "TOKENFORCE_KV_CACHE_GIB": "0.5",
            "TOKENFORCE_MAX_NUM_SEQS": "64",
        }
        with (
            whole_stack(tmp_path / "home", tmp_path / "root", **settings) as stack,
            Client(stack.url, key=stack.key) as client,
        ):
            webhook = client.webhooks.create(url=f"{receiver.url}/audited")
            policy = {"repos": ["org/*"], "contexts": ["assistant"], "block_on": ["suspicious"], "review_on": []}
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
            scan = client.scans.wait(first.scan_id, timeout=240)
            assert (scan.model, scan.hook_id) == (f"org/tiny@{COMMIT}", hook.id)
            wait_until(lambda: receiver.received, 30, lambda: stack.log("deliverer"))
            (callback,) = receiver.received
            event = verify_webhook(callback.body, callback.headers, webhook.secret)
            assert event.scan is not None
            assert event.scan.audit is not None
            assert event.scan.audit == client.scans.audit(first.scan_id)
            assert (event.type, event.scan.audit.decision) == ("scan.succeeded", Decision.block)
            report = client.scans.report(first.scan_id)
            assert report.findings
            assert report.findings[0].text.encode() not in callback.body
            with pytest.raises(WebhookVerificationError):
                verify_webhook(callback.body.replace(b"block", b"allow"), callback.headers, webhook.secret)
