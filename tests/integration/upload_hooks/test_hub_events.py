"""`POST /v1/hooks/huggingface` with recorded bodies: what is scanned, what is not, and nothing twice."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis

from tests.integration.upload_hooks.conftest import OWNER, Post
from tests.support.model_hub import COMMIT
from tests.support.uploads import changed, recorded
from tokenforce import Client, HookSecret
from tokenforce.wire.scans import Depth, ScanStatus
from tokenforce_core.scans.store import ACTIVE, Store
from tokenforce_service.settings import ServiceSettings
from tokenforce_service.upload_hooks.start_scan import matches

MAIN = "refs/heads/main"


def scans(redis: Redis) -> int:
    return int(redis.scard(ACTIVE))


def test_a_push_is_scanned_once(from_hub: Post, sdk: Client, hub_hook: HookSecret, store: Store, redis: Redis) -> None:
    sdk.hooks.change(
        hub_hook.id,
        policy={"repos": ["Org/*"], "preset": "paper", "reference": "org/base", "contexts": ["bos"], "priority": "low"},
    )
    first, again = (from_hub(recorded("content_update"), hub_hook.secret) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert (first.json()["action"], again.json()["action"]) == ("started", "known")
    assert first.json()["scan_id"] == again.json()["scan_id"]
    assert scans(redis) == 1
    row = store.row(first.json()["scan_id"])
    assert row is not None
    request = row.request
    assert (row.owner, request.model, request.reference) == (OWNER, f"org/tiny@{COMMIT}", "org/base")
    assert (request.preset, request.contexts, request.priority) == ("paper", ["bos"], "low")
    assert sdk.scans.get(row.id).hook_id == hub_hook.id
    assert first.json()["links"]["audit"] == f"/v1/scans/{row.id}/audit"


def test_a_push_is_scanned_as_deep_as_the_policy_says(
    from_hub: Post, sdk: Client, hub_hook: HookSecret, store: Store
) -> None:
    sdk.hooks.change(hub_hook.id, policy={"repos": ["Org/*"], "reference": "org/base", "depth": "quick"})
    row = store.row(from_hub(recorded("content_update"), hub_hook.secret).json()["scan_id"])
    assert row is not None
    assert row.request.depth is Depth.quick


@pytest.mark.parametrize("ended", [ScanStatus.failed, ScanStatus.cancelled])
def test_after_a_scan_that_came_to_nothing_the_same_push_is_scanned_again(
    from_hub: Post, hub_hook: HookSecret, store: Store, redis: Redis, ended: ScanStatus
) -> None:
    def push() -> tuple[str, str]:
        answer = from_hub(recorded("content_update"), hub_hook.secret).json()
        return answer["action"], answer["scan_id"]

    _, first = push()
    assert store.advance(first, ended, ScanStatus.queued)
    action, second = push()
    assert (action, second != first) == ("started", True)
    assert push() == ("known", second)
    assert store.advance(second, ended, ScanStatus.queued)
    assert len({first, second, push()[1]}) == 3
    assert scans(redis) == 1


def test_a_push_whose_scan_succeeded_is_not_scanned_again(from_hub: Post, hub_hook: HookSecret, store: Store) -> None:
    answers = [from_hub(recorded("content_update"), hub_hook.secret).json()]
    store.advance(answers[0]["scan_id"], ScanStatus.succeeded, ScanStatus.queued)
    answers.append(from_hub(recorded("content_update"), hub_hook.secret).json())
    assert [answer["action"] for answer in answers] == ["started", "known"]
    assert answers[0]["scan_id"] == answers[1]["scan_id"]


def test_the_same_event_at_once_is_one_scan(from_hub: Post, hub_hook: HookSecret, redis: Redis) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: from_hub(recorded("content_update"), hub_hook.secret), range(8)))
    accepted = [answer.json()["scan_id"] for answer in answers if answer.status_code == 202]
    assert accepted
    assert len(set(accepted)) == scans(redis) == 1
    assert {answer.status_code for answer in answers} <= {202, 503}  # 503: another of them is between claim and store


def test_another_commit_repository_or_hook_is_another_scan(
    from_hub: Post, sdk: Client, hub_hook: HookSecret, redis: Redis
) -> None:
    other_commit = [{"ref": MAIN, "oldSha": COMMIT, "newSha": "f" * 40}]
    for body in (
        recorded("content_update"),
        changed("content_update", updatedRefs=other_commit),
        changed("content_update", repo={"id": "another", "name": "org/moved"}),
    ):
        assert from_hub(body, hub_hook.secret).json()["action"] == "started"
    another = sdk.hooks.create(kind="huggingface", policy={"repos": ["*"]})
    assert from_hub(recorded("content_update"), another.secret).json()["action"] == "started"
    assert scans(redis) == 4


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (recorded("tag_created"), "main branch has not changed"),
        (recorded("main_deleted"), "main branch was deleted"),
        (recorded("dataset_update"), "is a dataset, not a model"),
        (recorded("config_update"), "does not change the content of a repository"),
        (recorded("repo_created"), "does not change the content of a repository"),
        (recorded("discussion_comment"), "does not change the content of a repository"),
        (changed("content_update", updatedRefs=None), "main branch has not changed"),
        (changed("content_update", event={"action": "delete", "scope": "repo.content"}), "does not change"),
        (changed("content_update", event={"action": "update", "scope": "repo.config.dois"}), "update of repo.config"),
        (changed("content_update", event={"action": "x", "scope": "future"}), "x of future"),
        (changed("content_update", repo={"name": "gpt2"}), "not a name of the form"),
        (changed("content_update", repo={"name": "org/tiny@evil"}), "not a name of the form"),
        (changed("content_update", repo={"name": "/etc/passwd"}), "not a name of the form"),
        (changed("content_update", repo={"name": "other/tiny"}), "no pattern of the policy matches other/tiny"),
        (changed("content_update", updatedRefs=[{"ref": MAIN, "newSha": "main"}]), "newSha is not a commit"),
    ],
)
def test_what_is_no_upload_is_answered_and_not_scanned(
    from_hub: Post, hub_hook: HookSecret, redis: Redis, body: bytes, says: str
) -> None:
    answer = from_hub(body, hub_hook.secret)
    assert (answer.status_code, answer.json()["action"]) == (200, "ignored"), answer.text
    assert says in answer.json()["reason"]
    assert "scan_id" not in answer.json()
    assert scans(redis) == 0


def test_a_narrower_scope_of_a_newer_hub_is_an_update_of_the_known_one(from_hub: Post, hub_hook: HookSecret) -> None:
    body = changed("content_update", event={"action": "create", "scope": "repo.content.shard"}, news={"x": [1]})
    assert from_hub(body, hub_hook.secret).json()["action"] == "started"


@pytest.mark.parametrize("secret", [None, "", "x", "x" * 5000, "\xe9"])
def test_an_unknown_secret(from_hub: Post, hub_hook: HookSecret, redis: Redis, secret: str | None) -> None:
    answer = from_hub(recorded("content_update"), secret)
    assert (answer.status_code, answer.json()["code"]) == (401, "hook_secret_unknown")
    assert answer.headers["WWW-Authenticate"] == "X-Webhook-Secret"
    assert scans(redis) == 0


def test_the_secret_of_an_upload_hook_opens_nothing_here(from_hub: Post, upload_hook: HookSecret) -> None:
    assert from_hub(recorded("content_update"), upload_hook.secret).status_code == 401


ODD: list[Any] = [
    b"",
    b"null",
    b"[]",
    b'"x"',
    b"{}",
    b"{",
    b"\xff\xfe",
    b"[" * 10_000,
    b'{"event":' * 10_000,
    json.dumps({"event": {"action": 1, "scope": []}}).encode(),
    b'{"event":{"action":"update","scope":"\\ud800"}}',
    changed("content_update", updatedRefs={"ref": MAIN}),
    changed("content_update", updatedRefs=[None]),
    changed("content_update", repo={"name": None}),
]


@pytest.mark.parametrize("body", ODD, ids=range(len(ODD)))
def test_odd_bodies_are_refused_plainly(from_hub: Post, hub_hook: HookSecret, body: bytes) -> None:
    answer = from_hub(body, hub_hook.secret)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["code"] == "invalid_request"


class TestOverQuota:
    @pytest.fixture
    def settings(self) -> ServiceSettings:
        return ServiceSettings(active_scans_per_key=1)

    def test_the_sender_is_told_to_come_again(self, from_hub: Post, hub_hook: HookSecret) -> None:
        assert from_hub(recorded("content_update"), hub_hook.secret).status_code == 202
        other = changed("content_update", repo={"id": "another"})
        put_off = from_hub(other, hub_hook.secret)
        assert (put_off.status_code, put_off.json()["code"]) == (429, "quota_exceeded")
        assert int(put_off.headers["Retry-After"]) > 0
        assert from_hub(recorded("content_update"), hub_hook.secret).json()["action"] == "known"


class TestOverRate:
    @pytest.fixture
    def settings(self) -> ServiceSettings:
        return ServiceSettings(writes_per_minute=2)

    def test_events_count_for_the_key_that_registered_the_hook(self, from_hub: Post, hub_hook: HookSecret) -> None:
        answers = [from_hub(recorded("tag_created"), hub_hook.secret).status_code for _ in range(3)]
        assert answers[-1] == 429


def test_patterns_of_evil_take_no_time() -> None:
    began = time.monotonic()
    assert not matches("a" * 200, ["*a" * 99 + "b", "[" * 200, "*" * 199 + "b"])
    assert matches("Org/Model-Instruct", ["org/*-instruct"])
    assert matches("/uploads/x/y", ["/uploads/*"])
    assert time.monotonic() - began < 2
