"""A hook is given another secret: both count for a day, and then the new one alone."""

from __future__ import annotations

import time

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.integration.upload_hooks.conftest import Post
from tests.support.keys import bearer
from tests.support.uploads import message, recorded
from tokenforce import Client, HookSecret, NotFound
from tokenforce.wire.keys import Scope
from tokenforce_service.access import rotating_secrets


def test_the_hub_s_secrets_overlap(sdk: Client, from_hub: Post, hub_hook: HookSecret, redis: Redis) -> None:
    rotated = sdk.hooks.rotate(hub_hook.id)
    assert rotated.secret != hub_hook.secret
    assert rotated.previous_secrets_until is not None
    assert rotated.previous_secrets_until.timestamp() == pytest.approx(time.time() + 86400, abs=60)
    assert sdk.hooks.get(hub_hook.id).model_dump() == hub_hook.model_dump(exclude={"secret", "previous_secrets_until"})
    for secret in (hub_hook.secret, rotated.secret):
        assert from_hub(recorded("content_update"), secret).status_code == 202
        assert not [name for name in redis.scan_iter("*") if secret.encode() in name + (redis.dump(name) or b"")]


def test_the_hub_s_old_secret_ends(
    sdk: Client, from_hub: Post, hub_hook: HookSecret, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotating_secrets, "OVERLAP_SECONDS", 0.0)
    rotated = sdk.hooks.rotate(hub_hook.id)
    time.sleep(1.1)  # Redis keeps whole seconds
    assert from_hub(recorded("content_update"), hub_hook.secret).status_code == 401
    assert from_hub(recorded("content_update"), rotated.secret).status_code == 202


def test_a_secret_that_is_one_too_many_ends_at_once(
    sdk: Client, from_hub: Post, hub_hook: HookSecret, redis: Redis
) -> None:
    for _ in range(rotating_secrets.MOST_SECRETS):
        rotated = sdk.hooks.rotate(hub_hook.id)
    assert from_hub(recorded("content_update"), hub_hook.secret).status_code == 401
    assert from_hub(recorded("content_update"), rotated.secret).status_code == 202
    assert len(redis.keys("tf:hook-of-secret:*")) == rotating_secrets.MOST_SECRETS


def test_an_upload_hook_s_secrets_overlap(
    sdk: Client, from_sender: Post, upload_hook: HookSecret, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotated = sdk.hooks.rotate(upload_hook.id)
    assert rotated.url == upload_hook.url
    for secret in (upload_hook.secret, rotated.secret):
        assert from_sender(upload_hook, secret=secret, model="org/a").status_code == 202
    stale = from_sender(upload_hook, model="org/a", late=301)
    assert (stale.status_code, stale.json()["code"]) == (401, "hook_message_stale")
    monkeypatch.setattr(rotating_secrets, "OVERLAP_SECONDS", 0.0)
    last = sdk.hooks.rotate(upload_hook.id)
    assert from_sender(upload_hook, secret=rotated.secret, model="org/a").status_code == 401
    assert from_sender(upload_hook, secret=last.secret, model="org/a").status_code == 202


@pytest.mark.parametrize("kind", ["huggingface", "upload"])
def test_nothing_is_left_of_a_removed_hook(sdk: Client, redis: Redis, kind: str, from_hub: Post) -> None:
    made = sdk.hooks.create(kind=kind, policy={"repos": ["*"]})
    secrets = [made.secret, *(sdk.hooks.rotate(made.id).secret for _ in range(3))]
    sdk.hooks.remove(made.id)
    assert list(redis.scan_iter("tf:hook*")) == []
    assert {from_hub(recorded("content_update"), secret).status_code for secret in secrets} == {401}
    with pytest.raises(NotFound):
        sdk.hooks.rotate(made.id)


def test_sent_twice_it_is_done_once(http: TestClient, upload_hook: HookSecret, redis: Redis) -> None:
    path, headers = f"/v1/hooks/{upload_hook.id}/rotate", {"Idempotency-Key": "k"}
    first, again = (http.post(path, headers=headers) for _ in range(2))
    assert (first.status_code, first.headers["Cache-Control"]) == (200, "no-store")
    assert (again.status_code, again.json()["code"]) == (409, "already_created")
    assert redis.zcard(f"tf:hook:{upload_hook.id}:secrets") == 2
    assert http.post(upload_hook.url, **message(first.json()["secret"], model="org/a")).status_code == 202


def test_nobody_rotates_what_is_another_s(http: TestClient, redis: Redis, hub_hook: HookSecret, from_hub: Post) -> None:
    others = bearer(redis, Scope.hooks, owner="another")
    answer = http.post(f"/v1/hooks/{hub_hook.id}/rotate", headers=others)
    assert (answer.status_code, answer.json()["code"]) == (404, "hook_not_found")
    assert redis.zcard(f"tf:hook:{hub_hook.id}:secrets") == 1
