"""The routes under /v1/hooks that need a key: what is shown to whom, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httpx
import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.integration.upload_hooks.conftest import OWNER, Post
from tests.support.keys import bearer
from tests.support.uploads import recorded
from tokenforce import AsyncClient, Client, Conflict, HookAction, HookSecret, NotFound
from tokenforce.wire.keys import Scope
from tokenforce_core.scans.store import ACTIVE
from tokenforce_service.access.callers import KeyRing
from tokenforce_service.access.key_store import KeyStore
from tokenforce_service.access.registrations import MOST_OF_ONE_OWNER
from tokenforce_service.access.tokens import parse
from tokenforce_service.http.dependencies import find


def test_the_secret_is_shown_once_and_a_hub_s_is_not_stored(sdk: Client, hub_hook: HookSecret, redis: Redis) -> None:
    assert hub_hook.url == "/v1/hooks/huggingface"
    assert hub_hook.secret not in repr(hub_hook)
    assert list(sdk.hooks.iter()) == [sdk.hooks.get(hub_hook.id)]
    assert "secret" not in sdk.hooks.get(hub_hook.id).model_dump()
    stored = cast("dict[bytes, bytes]", redis.hgetall(f"tf:hook:{hub_hook.id}"))
    assert stored[b"owner"] == OWNER.encode()
    assert hub_hook.secret.encode() not in b" ".join(stored.values())
    assert not [key for key in redis.scan_iter("*") if hub_hook.secret.encode() in key]


def test_an_upload_hook_has_its_own_url_and_a_signing_secret(upload_hook: HookSecret) -> None:
    assert upload_hook.url == f"/v1/hooks/upload?hook={upload_hook.id}"
    assert upload_hook.secret.startswith("whsec_")


def test_pages_and_removal(sdk: Client, from_hub: Post) -> None:
    made = [sdk.hooks.create(kind="huggingface", policy={"repos": ["*"]}) for _ in range(3)]
    assert [hook.id for hook in sdk.hooks.iter(page_size=2)] == [hook.id for hook in reversed(made)]
    sdk.hooks.remove(made[0].id)
    assert from_hub(recorded("content_update"), made[0].secret).status_code == 401
    assert from_hub(recorded("content_update"), made[1].secret).status_code == 202
    with pytest.raises(NotFound):
        sdk.hooks.remove(made[0].id)


def test_the_async_client(http: TestClient) -> None:
    async def use() -> None:
        transport = httpx.ASGITransport(http.app)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://here", headers=http.headers) as connection,
            AsyncClient(http_client=connection) as client,
        ):
            made = await client.hooks.create(kind="upload", policy={"repos": ["other/*"]})
            assert [hook.id async for hook in client.hooks.iter()] == [made.id]
            assert (await client.hooks.test(made.id, made.secret, model="org/x")).action == HookAction.ignored
            changed = await client.hooks.change(made.id, policy={"repos": ["org/*"]})
            assert await client.hooks.get(made.id) == changed
            answer = await client.hooks.test(made.id, made.secret, model="org/x")
            assert answer.action == HookAction.started
            with pytest.raises(Conflict, match="has not ended"):
                await client.scans.audit(str(answer.scan_id))
            await client.hooks.remove(made.id)
            with pytest.raises(NotFound):
                await client.hooks.get(made.id)

    asyncio.run(use())


def test_a_policy_is_replaced_as_a_whole(sdk: Client, hub_hook: HookSecret, from_hub: Post) -> None:
    sdk.hooks.change(hub_hook.id, policy={"repos": ["other/*"], "accepted_licences": ["L 1.0"]})
    changed = sdk.hooks.change(hub_hook.id, policy={"repos": ["other/*"]})
    assert changed.policy.accepted_licences == []
    answer = from_hub(recorded("content_update"), hub_hook.secret)
    assert (answer.status_code, answer.json()["action"]) == (200, "ignored")
    assert "no pattern of the policy matches org/tiny" in answer.json()["reason"]


def test_hooks_of_others_do_not_exist(
    http: TestClient, redis: Redis, hub_hook: HookSecret, upload_hook: HookSecret
) -> None:
    others = bearer(redis, Scope.hooks, owner="another")
    assert http.get("/v1/hooks", headers=others).json()["items"] == []
    for hook in (hub_hook, upload_hook):
        for method, body in (("GET", None), ("PATCH", {"policy": {"repos": ["*"]}}), ("DELETE", None)):
            answer = http.request(method, f"/v1/hooks/{hook.id}", headers=others, json=body)
            assert (answer.status_code, answer.json()["code"]) == (404, "hook_not_found")
        assert http.get(f"/v1/hooks/{hook.id}").status_code == 200
    assert http.get("/v1/hooks/hook_0123456789abcdef:x").status_code == 404


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"repos": []},
        {"repos": [""]},
        {"repos": ["x" * 201]},
        {"repos": ["*"], "priority": "high"},
        {"repos": ["*"], "preset": "none"},
        {"repos": ["*"], "depth": "deep"},
        {"repos": ["*"], "depth": "quick", "reference": "none"},
        {"repos": ["*"], "contexts": ["story"]},
        {"repos": ["*"], "contexts": ["bos", "bos"]},
        {"repos": ["*"], "reference": "not a model"},
        {"repos": ["*"], "block_on": ["licence"]},
        {"repos": ["*"], "block_on": ["clean"]},
        {"repos": ["*"], "more": 1},
    ],
)
def test_a_policy_that_cannot_be_is_refused(http: TestClient, hub_hook: HookSecret, policy: dict[str, Any]) -> None:
    answers: list[httpx.Response] = [
        http.post("/v1/hooks", json={"kind": "huggingface", "policy": policy}),  # type: ignore[list-item]
        http.patch(f"/v1/hooks/{hub_hook.id}", json={"policy": policy}),  # type: ignore[list-item]
    ]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert len(http.get("/v1/hooks").json()["items"]) == 1


def test_there_is_a_most(sdk: Client) -> None:
    for _ in range(MOST_OF_ONE_OWNER):
        sdk.hooks.create(kind="upload", policy={"repos": ["*"]})
    with pytest.raises(Conflict, match="remove one"):
        sdk.hooks.create(kind="upload", policy={"repos": ["*"]})


def test_a_registration_that_is_sent_twice_is_one(http: TestClient, from_hub: Post) -> None:
    body = {"kind": "huggingface", "policy": {"repos": ["*"]}}
    first = http.post("/v1/hooks", json=body, headers={"Idempotency-Key": "k"})
    again = http.post("/v1/hooks", json=body, headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code, again.json()["code"]) == (201, 409, "already_created")
    assert len(http.get("/v1/hooks").json()["items"]) == 1


def test_a_hook_ends_with_the_key_that_made_it(
    http: TestClient, hub_hook: HookSecret, upload_hook: HookSecret, from_hub: Post, from_sender: Post, redis: Redis
) -> None:
    token = parse(http.headers["Authorization"].removeprefix("Bearer "))
    assert token is not None
    assert from_hub(recorded("content_update"), hub_hook.secret).status_code == 202
    active = redis.scard(ACTIVE)
    KeyStore(redis).revoke(token.key_id)
    find(cast(Any, http.app), KeyRing).forget(token.key_id)  # as after the two seconds that a gateway believes it
    for answer in (
        from_hub(recorded("content_update"), hub_hook.secret),
        from_sender(upload_hook, model="org/a"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "hook_key_ended")
        assert "register the hook with another key" in answer.json()["detail"]
    assert redis.scard(ACTIVE) == active
    assert from_hub(recorded("content_update"), "a guess").status_code == 401


def test_an_admin_lists_those_of_all(http: TestClient, hub_hook: HookSecret, redis: Redis) -> None:
    admin = bearer(redis, Scope.admin, owner="operator")
    body = {"kind": "upload", "policy": {"repos": ["*"]}}
    own = http.post("/v1/hooks", json=body, headers=admin).json()["id"]

    def listed(headers: dict[str, str], limit: int = 50) -> list[str]:
        return [each["id"] for each in http.get(f"/v1/hooks?limit={limit}", headers=headers).json()["items"]]

    assert listed(admin) == [own, hub_hook.id]
    assert listed(admin, limit=1) == [own]
    assert listed({}) == [hub_hook.id]
    http.delete(f"/v1/hooks/{hub_hook.id}", headers=admin)
    assert listed(admin) == [own]
