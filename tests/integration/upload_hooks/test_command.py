"""`tokenforce hooks` and `client.hooks.test`, against the real gateway in this process; and the audit over HTTP."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.integration.upload_hooks.conftest import OWNER, Post
from tests.support.keys import bearer
from tests.support.model_hub import COMMIT
from tests.support.scan_results import example_report
from tests.support.uploads import recorded
from tokenforce import Client, Conflict, HookAnswer, HookSecret, NotAuthenticated
from tokenforce.cli.app import main
from tokenforce.wire.scans import ScanStatus
from tokenforce_core.scans.store import Store
from tokenforce_service.webhooks.payloads import events_of

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def connected(http: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenforce.cli.upload_hooks.Client", lambda _url: Client(http_client=cast(Any, http)))
    monkeypatch.delenv("TOKENFORCE_HOOK_SECRET", raising=False)


@pytest.mark.parametrize("kind", ["huggingface", "upload"])
def test_a_hook_s_life(kind: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch, redis: Redis) -> None:
    assert main(["hooks", "create", kind, "--repo", "org/[x]*", "--block-on", "licence", "--json"]) == 0
    made = HookSecret.model_validate_json(capsys.readouterr().out)
    assert (made.policy.block_on, made.policy.review_on) == (["licence"], ["suspicious", "memorised"])
    assert main(["hooks", "list"]) == 0
    listed = capsys.readouterr().out
    assert made.id in listed
    assert "org/[x]*" in listed
    assert made.secret not in listed
    assert main(["hooks", "test", made.id]) == 4
    assert "TOKENFORCE_HOOK_SECRET" in capsys.readouterr().err
    monkeypatch.setenv("TOKENFORCE_HOOK_SECRET", made.secret)
    assert main(["hooks", "test", made.id]) == 0
    assert capsys.readouterr().out.startswith("ignored: Not scanned: no pattern of the policy matches")
    assert redis.zcard("tf:scans") == 0
    assert main(["hooks", "test", made.id, "--model", "org/x1", "--commit", COMMIT, "--json"]) == 0
    assert HookAnswer.model_validate(json.loads(capsys.readouterr().out)).action == "started"
    assert main(["hooks", "rotate", made.id]) == 0
    other = capsys.readouterr().out.strip()
    assert other not in ("", made.secret)
    monkeypatch.setenv("TOKENFORCE_HOOK_SECRET", other)
    assert main(["hooks", "test", made.id]) == 0
    assert main(["hooks", "rotate", made.id, "--json"]) == 0
    capsys.readouterr()
    assert main(["hooks", "remove", made.id]) == 0
    assert main(["hooks", "test", made.id]) == 2
    assert "hook_not_found" in capsys.readouterr().err


def test_the_secret_comes_alone_on_stdout(capsys: Capture) -> None:
    assert main(["hooks", "create", "huggingface", "--repo", "*"]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.split()) == 1
    assert shown.out.strip() not in shown.err


@pytest.mark.parametrize("secret", ["x", "whsec_AAAA"])
def test_another_secret(sdk: Client, hub_hook: HookSecret, secret: str) -> None:
    with pytest.raises(NotAuthenticated):
        sdk.hooks.test(hub_hook.id, secret)


def test_the_audit_is_that_of_the_webhook(
    http: TestClient, sdk: Client, redis: Redis, store: Store, hub_hook: HookSecret, from_hub: Post
) -> None:
    scan_id = from_hub(recorded("content_update"), hub_hook.secret).json()["scan_id"]
    with pytest.raises(Conflict, match="has not ended"):
        sdk.scans.audit(scan_id)
    running = http.get(f"/v1/scans/{scan_id}/audit")
    assert (running.status_code, running.headers["Retry-After"]) == (409, "1")
    store.advance(scan_id, ScanStatus.aggregating, ScanStatus.queued)
    assert store.finish(scan_id, example_report(scan_id))
    answer = sdk.scans.audit(scan_id)
    assert (answer.decision, answer.hook_id) == ("could_not_scan", hub_hook.id)
    row = store.row(scan_id)
    assert row is not None
    assert row.owner == OWNER
    (event,) = events_of(row, store)
    assert event.data["audit"] == answer.model_dump(mode="json", exclude_none=True)
    assert http.get(f"/v1/scans/{scan_id}/audit", headers=bearer(redis, owner="x")).status_code == 200  # an admin's
