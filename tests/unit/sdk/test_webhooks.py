"""What the SDK asks about webhooks and makes of the answers, through the sync and the async client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.support.fake_transport import URL, Shell, answers, problem
from tokenforce import Conflict, InvalidRequest, NotFound

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDpbKx1bYlBzE="


@pytest.fixture
def hooks(shell: Shell) -> Shell:
    shell.part = "webhooks"
    return shell


def webhook(name: str = "wh_1", **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "url": "https://example.com/",
        "events": ["scan.succeeded", "of.a.newer.service"],
        "enabled": True,
        "created_at": "2026-01-01T00:00:00Z",
        "a_field_of_a_newer_service": True,
        **more,
    }


def delivery(name: str = "evt_1") -> dict[str, Any]:
    attempt = {"at": "2026-01-01T00:00:00Z", "seconds": 0.1, "status_code": 500}
    return {
        "id": name,
        "webhook_id": "wh_1",
        "type": "scan.failed",
        "status": "dead",
        "created_at": "2026-01-01T00:00:00Z",
        "attempts": 1,
        "log": [attempt],
    }


def test_create_shows_the_secret_but_its_repr_does_not(hooks: Shell) -> None:
    made = hooks(answers(httpx.Response(201, json=webhook(secret=SECRET))), "create", url="https://example.com/")
    assert made.secret == SECRET
    assert SECRET not in repr(made)
    (sent,) = hooks.requests
    assert (sent.method, str(sent.url), json.loads(sent.content)) == (
        "POST",
        f"{URL}/v1/webhooks",
        {"url": "https://example.com/"},
    )


def test_create_happens_once_and_is_checked_before(hooks: Shell) -> None:
    made = httpx.Response(201, json=webhook(secret=SECRET))
    hooks(answers(problem(503, "store_unavailable"), made), "create", url="https://example.com/")
    assert len({request.headers["Idempotency-Key"] for request in hooks.requests}) == 1
    lists: list[list[str]] = [["scan.exploded"], ["webhook.test"], []]
    for events in lists:
        with pytest.raises(InvalidRequest, match="events"):
            hooks(answers(), "create", url="https://example.com/", events=events)


def test_change_sends_what_is_given(hooks: Shell) -> None:
    changed = hooks(answers(httpx.Response(200, json=webhook(enabled=False))), "change", "wh_1", enabled=False)
    assert changed.enabled is False
    assert (hooks.requests[0].method, json.loads(hooks.requests[0].content)) == ("PATCH", {"enabled": False})
    with pytest.raises(InvalidRequest, match="at least one of"):
        hooks(answers(), "change", "wh_1")


def test_rotate_test_and_replay_are_carried_out_once(hooks: Shell) -> None:
    """However often they are sent."""
    until = "2026-01-02T00:00:00Z"
    made = hooks(
        answers(httpx.Response(200, json=webhook(secret=SECRET, previous_secrets_until=until))), "rotate", "wh_1"
    )
    assert made.previous_secrets_until is not None
    assert hooks(answers(httpx.Response(202, json=delivery())), "test", "wh_1").id == "evt_1"
    assert hooks(answers(httpx.Response(202, json=delivery())), "replay", "wh_1", "evt_1").log[0].status_code == 500
    assert [request.url.path for request in hooks.requests] == [
        "/v1/webhooks/wh_1/rotate",
        "/v1/webhooks/wh_1/test",
        "/v1/webhooks/wh_1/deliveries/evt_1/replay",
    ]
    for name, args in (("rotate", ["a"]), ("test", ["a"]), ("replay", ["a", "b"])):
        sent = len(hooks.requests)
        with pytest.raises(Conflict):
            hooks(answers(problem(503, "store_unavailable"), problem(409, "already_created")), name, *args)
        first, again = (request.headers["Idempotency-Key"] for request in hooks.requests[sent:])
        assert first == again


def test_errors_are_typed(hooks: Shell) -> None:
    for status, code, kind in (
        (409, "webhook_disabled", Conflict),
        (409, "webhook_limit", Conflict),
        (409, "delivery_pending", Conflict),
        (404, "webhook_not_found", NotFound),
        (404, "delivery_not_found", NotFound),
        (422, "webhook_url_refused", InvalidRequest),
    ):
        with pytest.raises(kind):
            hooks(answers(problem(status, code)), "test", "wh_1")


def test_ids_stay_inside_their_part_of_the_path(hooks: Shell) -> None:
    with pytest.raises(NotFound):
        hooks(answers(problem(404, "webhook_not_found")), "delivery", "a/../b", "c?d")
    assert hooks.requests[-1].url.raw_path.decode() == "/v1/webhooks/a%2F..%2Fb/deliveries/c%3Fd"
    for name, args in (("get", [""]), ("delivery", ["a", ""]), ("replay", ["", "b"])):
        with pytest.raises(InvalidRequest, match="empty"):
            hooks(answers(), name, *args)


def test_lists_go_on_to_the_last_page(hooks: Shell) -> None:
    pages = [{"items": [webhook("a")], "next_cursor": "x"}, {"items": [webhook("b")]}]
    found = hooks(answers(*(httpx.Response(200, json=page) for page in pages)), "iter", page_size=1)
    assert [item.id for item in found] == ["a", "b"]
    pages = [{"items": [delivery("c")], "next_cursor": "y"}, {"items": [delivery("d")]}]
    listed = answers(*(httpx.Response(200, json=page) for page in pages))
    assert [item.id for item in hooks(listed, "deliveries", "wh_1", status="dead")] == ["c", "d"]
    assert dict(hooks.requests[-1].url.params) == {"status": "dead", "cursor": "y"}
