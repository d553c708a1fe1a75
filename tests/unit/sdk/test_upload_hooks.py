"""What the SDK asks about upload hooks and audits and makes of the answers, through the sync and the async client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.support.fake_transport import URL, Shell, answers, problem
from tokenforce import Conflict, HookPolicy, InvalidRequest, NotAuthenticated, NotFound, ServiceUnavailable

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDpbKx1bYlBzE="
POLICY: dict[str, Any] = {"repos": ["org/*"]}


@pytest.fixture
def hooks(shell: Shell) -> Shell:
    shell.part = "hooks"
    return shell


def hook(name: str = "hook_1", kind: str = "upload", **more: Any) -> httpx.Response:
    document = {
        "id": name,
        "kind": kind,
        "url": "/v1/hooks/huggingface" if kind == "huggingface" else f"/v1/hooks/upload?hook={name}",
        "policy": {**POLICY, "a_field_of_a_newer_service": True},
        "created_at": "2026-01-01T00:00:00Z",
        "a_field_of_a_newer_service": True,
    }
    return httpx.Response(200, json={**document, **more})


def started() -> httpx.Response:
    return httpx.Response(202, json={"hook_id": "hook_1", "action": "started", "reason": "r", "scan_id": "s1"})


def test_create_shows_the_secret_but_its_repr_does_not(hooks: Shell) -> None:
    made = hooks(answers(hook(secret=SECRET)), "create", kind="upload", policy=POLICY)
    assert made.secret == SECRET
    assert SECRET not in repr(made)
    (sent,) = hooks.requests
    assert (sent.method, str(sent.url)) == ("POST", f"{URL}/v1/hooks")
    assert json.loads(sent.content) == {"kind": "upload", "policy": POLICY}


def test_create_happens_once_and_is_checked_before(hooks: Shell) -> None:
    lost = answers(problem(503, "store_unavailable"), hook(secret=SECRET))
    hooks(lost, "create", kind="upload", policy=HookPolicy(repos=["*"]))
    assert len({request.headers["Idempotency-Key"] for request in hooks.requests}) == 1
    both = {**POLICY, "block_on": ["licence"], "review_on": ["licence"]}
    wrong: list[tuple[str, dict[str, Any]]] = [("ftp", POLICY), ("upload", {"repos": []}), ("upload", both)]
    for kind, policy in wrong:
        with pytest.raises(InvalidRequest):
            hooks(answers(), "create", kind=kind, policy=policy)


def test_rotate_is_carried_out_once(hooks: Shell) -> None:
    until = "2026-01-02T00:00:00Z"
    lost = answers(problem(503, "store_unavailable"), hook(secret=SECRET, previous_secrets_until=until))
    made = hooks(lost, "rotate", "hook_1")
    assert (made.secret, made.previous_secrets_until is None) == (SECRET, False)
    assert {request.url.path for request in hooks.requests} == {"/v1/hooks/hook_1/rotate"}
    assert len({request.headers["Idempotency-Key"] for request in hooks.requests}) == 1
    with pytest.raises(Conflict):
        hooks(answers(problem(409, "already_created")), "rotate", "hook_1")


def test_change_replaces_the_policy(hooks: Shell) -> None:
    assert hooks(answers(hook()), "change", "hook_1", policy=POLICY).policy.repos == ["org/*"]
    assert (hooks.requests[0].method, json.loads(hooks.requests[0].content)) == ("PATCH", {"policy": POLICY})


def test_lists_go_on_to_the_last_page(hooks: Shell) -> None:
    pages = [{"items": [hook("a").json()], "next_cursor": "x"}, {"items": [hook("b").json()]}]
    found = hooks(answers(*(httpx.Response(200, json=page) for page in pages)), "iter", page_size=1)
    assert [item.id for item in found] == ["a", "b"]
    assert [dict(request.url.params) for request in hooks.requests] == [{"limit": "1"}, {"limit": "1", "cursor": "x"}]


def test_a_sample_of_the_hub_carries_the_secret(hooks: Shell) -> None:
    answer = hooks(answers(hook(kind="huggingface"), started()), "test", "hook_1", SECRET, model="org/x", commit="c")
    assert (answer.action, answer.scan_id) == ("started", "s1")
    looked, posted = hooks.requests
    assert looked.url.path == "/v1/hooks/hook_1"
    assert (posted.method, posted.url.path) == ("POST", "/v1/hooks/huggingface")
    assert posted.headers["X-Webhook-Secret"] == SECRET
    assert json.loads(posted.content)["repo"]["headSha"] == "c"


def test_a_sample_of_an_upload_is_signed_and_sent_once(hooks: Shell) -> None:
    hooks(answers(hook(), started()), "test", "hook_1", SECRET, model="org/x")
    posted = hooks.requests[-1]
    assert (posted.url.path, dict(posted.url.params)) == ("/v1/hooks/upload", {"hook": "hook_1"})
    assert posted.headers["webhook-signature"].startswith("v1,")
    assert SECRET not in str(posted.headers)
    with pytest.raises(ServiceUnavailable):
        hooks(answers(hook(), problem(503, "store_unavailable")), "test", "hook_1", SECRET)
    with pytest.raises(InvalidRequest, match="whsec_"):
        hooks(answers(hook()), "test", "hook_1", "")


def test_errors_are_typed(hooks: Shell) -> None:
    for status, code, kind in (
        (409, "hook_limit", Conflict),
        (404, "hook_not_found", NotFound),
        (401, "hook_secret_unknown", NotAuthenticated),
        (401, "hook_signature_invalid", NotAuthenticated),
    ):
        with pytest.raises(kind):
            hooks(answers(problem(status, code)), "remove", "hook_1")


def test_a_removal_whose_answer_was_lost_is_one(hooks: Shell) -> None:
    gone = problem(404, "hook_not_found")
    for lost in (httpx.ReadError("reset"), httpx.ReadTimeout("late"), httpx.Response(502), httpx.Response(504)):
        assert hooks(answers(lost, gone), "remove", "hook_1") is None
        with pytest.raises(NotFound):
            hooks(answers(lost, gone), "get", "hook_1")
    with pytest.raises(NotFound):
        hooks(answers(gone), "remove", "hook_1")


def test_a_removal_that_was_put_off_has_removed_nothing(hooks: Shell) -> None:
    gone = problem(404, "hook_not_found")
    for put_off in (problem(429, "rate_limited"), problem(503, "store_unavailable"), httpx.ConnectError("refused")):
        with pytest.raises(NotFound):
            hooks(answers(put_off, gone), "remove", "hook_of_a_typing_error")
    assert hooks(answers(httpx.ReadError("reset"), problem(429, "rate_limited"), gone), "remove", "hook_1") is None


def test_ids_stay_inside_their_part_of_the_path(hooks: Shell) -> None:
    assert hooks(answers(httpx.Response(204)), "remove", "a/../b") is None
    assert hooks.requests[-1].url.raw_path.decode() == "/v1/hooks/a%2F..%2Fb"
    for name in ("get", "remove"):
        with pytest.raises(InvalidRequest, match="hook id is empty"):
            hooks(answers(), name, "")


def test_the_audit_of_a_scan(shell: Shell) -> None:
    document = {"scan_id": "s1", "model": "org/x", "decision": "block", "reasons": ["r"], "of_tomorrow": 1}
    assert shell(answers(httpx.Response(200, json=document)), "audit", "s1").decision == "block"
    assert shell.requests[-1].url.path == "/v1/scans/s1/audit"
    with pytest.raises(Conflict):
        shell(answers(problem(409, "report_not_ready", **{"Retry-After": "2"})), "audit", "s1")  # never asked again
