"""`POST /v1/hooks/upload`: signed by Standard Webhooks; forged, stale and replayed messages."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from redis import Redis
from starlette.testclient import TestClient

from tests.integration.upload_hooks.conftest import Post
from tests.support.uploads import message
from tokenforce import Client, HookSecret
from tokenforce_core.scans.store import ACTIVE, Store
from tokenforce_service.settings import ServiceSettings
from tokenforce_service.upload_hooks.signed_event import LONGEST_ID
from tokenforce_service.upload_hooks.start_scan import scan_id_of


@pytest.mark.parametrize(
    ("event", "model"),
    [
        ({"model": "org/a"}, "org/a"),
        ({"model": "org/a", "revision": "v1"}, "org/a@v1"),
        ({"model": "org/a", "revision": "main", "sha": "c0ffee"}, "org/a@c0ffee"),
        ({"model": "org/a@main", "sha": "c0ffee"}, "org/a@c0ffee"),
        ({"model": "org/a@v1"}, "org/a@v1"),
        ({"model": "/uploads/17", "sha": "c0ffee"}, "/uploads/17"),
    ],
)
def test_what_is_scanned(
    from_sender: Post, upload_hook: HookSecret, store: Store, event: dict[str, str], model: str
) -> None:
    answer = from_sender(upload_hook, **event, metadata={"ticket": "17"}, a_field_of_theirs=1)
    assert (answer.status_code, answer.json()["action"]) == (202, "started"), answer.text
    row = store.row(answer.json()["scan_id"])
    assert row is not None
    assert row.origin is not None
    assert (row.request.model, row.origin.metadata) == (model, {"ticket": "17"})


def test_the_same_upload_is_one_scan(from_sender: Post, upload_hook: HookSecret, redis: Redis) -> None:
    for event in ({"model": "org/a", "sha": "1"}, {"model": "/uploads/1", "revision": "2"}, {"model": "org/b@v1"}):
        first = from_sender(upload_hook, name=f"a{event}".replace(" ", ""), **event)
        again = from_sender(upload_hook, name=f"b{event}".replace(" ", ""), **event)
        assert (first.json()["action"], again.json()["action"]) == ("started", "known")
    assert redis.scard(ACTIVE) == 3


def test_without_a_revision_each_message_is_an_upload(from_sender: Post, upload_hook: HookSecret) -> None:
    answers = [from_sender(upload_hook, name=name, model="org/a").json() for name in ("m1", "m2", "m1")]
    assert [answer["action"] for answer in answers] == ["started", "started", "known"]
    assert answers[0]["scan_id"] == answers[2]["scan_id"] != answers[1]["scan_id"]


def test_a_replayed_message_does_nothing_again(http: TestClient, upload_hook: HookSecret, redis: Redis) -> None:
    """A sender that lost the answer sends the same; so may whoever recorded it."""
    sent = message(upload_hook.secret, model="org/a")
    first, again = (http.post(upload_hook.url, **sent) for _ in range(2))
    assert (first.json()["action"], again.json()["action"]) == ("started", "known")
    assert redis.scard(ACTIVE) == 1


def test_a_message_s_id_with_another_body(from_sender: Post, upload_hook: HookSecret, redis: Redis) -> None:
    from_sender(upload_hook, model="org/a", sha="1")
    answer = from_sender(upload_hook, model="org/b", sha="1")
    assert (answer.status_code, answer.json()["code"]) == (409, "hook_message_reused")
    assert redis.scard(ACTIVE) == 1


@pytest.mark.parametrize("late", [400, -400])
def test_a_stale_message(from_sender: Post, upload_hook: HookSecret, late: float) -> None:
    answer = from_sender(upload_hook, late=late, model="org/a")
    assert (answer.status_code, answer.json()["code"]) == (401, "hook_message_stale")
    assert "sign the message again" in answer.json()["detail"]


FORGED: list[tuple[str, str | None]] = [
    ("webhook-id", "msg_2"),
    ("webhook-id", None),
    ("webhook-timestamp", None),
    ("webhook-timestamp", "nan"),
    ("webhook-timestamp", "1e400"),
    ("webhook-signature", None),
    ("webhook-signature", "v1,AAAA"),
    ("webhook-signature", "v1,\xe9"),
    ("webhook-signature", "v1"),
    ("webhook-signature", "v2,x v1,x"),
]


@pytest.mark.parametrize(("name", "value"), FORGED)
def test_a_forged_message(
    http: TestClient, upload_hook: HookSecret, redis: Redis, name: str, value: str | None
) -> None:
    sent = message(upload_hook.secret, model="org/a")
    sent["headers"].pop(name)
    if value is not None:
        sent["headers"][name] = value.encode("latin-1")
    answer = http.post(upload_hook.url, **sent)
    assert (answer.status_code, answer.json()["code"]) == (401, "hook_signature_invalid"), answer.text
    assert redis.scard(ACTIVE) == 0


def test_another_body_or_another_hook_s_secret(http: TestClient, sdk: Client, upload_hook: HookSecret) -> None:
    sent = message(upload_hook.secret, model="org/a")
    assert http.post(upload_hook.url, **{**sent, "content": b'{"model":"org/b"}'}).status_code == 401
    other = sdk.hooks.create(kind="upload", policy={"repos": ["*"]})
    assert http.post(upload_hook.url, **message(other.secret, model="org/a")).status_code == 401
    long = message(upload_hook.secret, name="x" * (LONGEST_ID + 1), model="org/a")
    assert http.post(upload_hook.url, **long).status_code == 401


def test_unknown_hooks(http: TestClient, hub_hook: HookSecret, upload_hook: HookSecret) -> None:
    sent = message(upload_hook.secret, model="org/a")
    for hook_id in ("hook_0123456789abcdef", "x", hub_hook.id):
        answer = http.post(f"/v1/hooks/upload?hook={hook_id}", **sent)
        assert (answer.status_code, answer.json()["code"]) == (404, "hook_not_found")
    assert http.post("/v1/hooks/upload", **sent).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"[" * 10_000,
        b'{"model":1}',
        b'{"model":""}',
        json.dumps({"model": "x" * 900}).encode(),
        json.dumps({"model": "org/a", "metadata": {"a": 1}}).encode(),
        json.dumps({"model": "org/a", "metadata": {str(i): "" for i in range(17)}}).encode(),
    ],
)
def test_odd_bodies_that_are_rightly_signed(from_sender: Post, upload_hook: HookSecret, body: bytes) -> None:
    answer = from_sender(upload_hook, body=body)
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] == "invalid_request"


@pytest.mark.parametrize("model", ["org/a\x00", "/uploads/\x00", "/uploads/../uploads/x", "org/" + "x" * 700])
def test_odd_models_are_left_to_the_planner(from_sender: Post, upload_hook: HookSecret, model: str) -> None:
    assert from_sender(upload_hook, model=model, sha="s" * 200).status_code == 202


@pytest.mark.parametrize("model", ["/uploads/../../etc", "/uploads/../other/x", "/uploads/..", "//uploads/../other"])
def test_no_pattern_is_walked_out_of(from_sender: Post, upload_hook: HookSecret, redis: Redis, model: str) -> None:
    answer = from_sender(upload_hook, model=model)
    assert (answer.status_code, answer.json()["action"]) == (200, "ignored")
    assert redis.scard(ACTIVE) == 0


def test_what_was_matched_is_what_is_scanned(from_sender: Post, upload_hook: HookSecret, store: Store) -> None:
    answer = from_sender(upload_hook, model="/other/..//uploads/./17/")
    row = store.row(answer.json()["scan_id"])
    assert row is not None
    assert row.request.model == "/uploads/17"


Events = st.lists(
    st.tuples(st.sampled_from(["org/a", "org/b", "/uploads/a"]), st.sampled_from(["1", "2", "main"])), max_size=12
)


class TestManyUploads:
    @pytest.fixture
    def settings(self) -> ServiceSettings:
        return ServiceSettings(writes_per_minute=10**6, active_scans_per_key=10**6)

    @hypothesis.settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(events=Events)
    def test_there_are_as_many_scans_as_different_uploads(
        self, redis: Redis, sdk: Client, from_sender: Post, events: list[tuple[str, str]]
    ) -> None:
        before = redis.scard(ACTIVE)
        hook = sdk.hooks.create(kind="upload", policy={"repos": ["*"]})
        try:
            seen: dict[tuple[str, str], str] = {}
            for number, (model, sha) in enumerate(events):
                answer: Any = from_sender(hook, name=f"m{number}", model=model, sha=sha).json()
                assert answer["action"] == ("known" if (model, sha) in seen else "started")
                assert seen.setdefault((model, sha), answer["scan_id"]) == answer["scan_id"]
            assert redis.scard(ACTIVE) - before == len(set(events))
        finally:
            sdk.hooks.remove(hook.id)


Parts = st.lists(st.text(max_size=4), min_size=1, max_size=4)


@given(one=Parts, other=Parts)
def test_different_uploads_have_different_scans(one: list[str], other: list[str]) -> None:
    assert (scan_id_of("hook_1", one) == scan_id_of("hook_1", other)) == (one == other)
