"""What the SDK asks about keys, which key it sends itself, and what it makes of 401 and 403."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.support.fake_transport import URL, Shell, answers, problem
from tokenforce import AsyncClient, Client, InvalidRequest, NotAuthenticated, NotConfigured, NotFound, NotPermitted
from tokenforce.sdk.errors import Conflict

TOKEN = "tf_0123456789abcdef_" + "k" * 43


@pytest.fixture
def keys(shell: Shell) -> Shell:
    shell.part = "keys"
    return shell


def key(name: str = "k1", **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "owner": "a",
        "scopes": ["scans:read", "of:tomorrow"],
        "created_at": "2026-01-01T00:00:00Z",
    } | more


def test_create_sends_what_is_given(keys: Shell) -> None:
    answer = answers(*[httpx.Response(201, json=key(token=TOKEN))] * 3)
    made = keys(answer, "create", owner="a", scopes=["scans:read"])
    assert made.token == TOKEN
    assert TOKEN not in repr(made)
    keys(answer, "create", owner="a", scopes=["hooks"], name="n", expires_at=datetime(2030, 1, 1, tzinfo=UTC))
    keys(answer, "create", owner="a", scopes=["hooks"], limits={"scans_per_day": 9})
    plain, full, limited = (json.loads(request.content) for request in keys.requests)
    assert plain == {"owner": "a", "scopes": ["scans:read"], "name": ""}
    assert full == {"owner": "a", "scopes": ["hooks"], "name": "n", "expires_at": "2030-01-01T00:00:00Z"}
    assert limited == {**plain, "scopes": ["hooks"], "limits": {"scans_per_day": 9}}
    assert (keys.requests[0].method, str(keys.requests[0].url)) == ("POST", f"{URL}/v1/keys")


@pytest.mark.parametrize(
    "wrong",
    [
        {"scopes": []},
        {"scopes": ["everything"]},
        {"owner": ""},
        {"owner": "a b"},
        {"owner": "a:b"},
        {"owner": "a\n"},
        {"name": "\x1b"},
        {"expires_at": datetime(2030, 1, 1)},
        {"limits": {"scans_per_day": 0}},
        {"limits": {"scans_a_week": 1}},
    ],
)
def test_create_refuses_what_the_service_would(keys: Shell, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        keys(answers(), "create", **{"owner": "a", "scopes": ["admin"], **wrong})


def test_a_token_that_got_lost_is_told_as_made(keys: Shell) -> None:
    """The first attempt made the key; its answer, with the token, is nowhere any more."""
    lost = answers(httpx.ReadTimeout("slow"), problem(409, "already_created", "made /v1/keys/k1"))
    with pytest.raises(Conflict, match="/v1/keys/k1"):
        keys(lost, "create", owner="a", scopes=["admin"])
    assert len({request.headers["idempotency-key"] for request in keys.requests}) == 1


def test_get_revoke_and_iter(keys: Shell) -> None:
    assert keys(answers(httpx.Response(200, json=key())), "get", "k1").scopes == ["scans:read", "of:tomorrow"]
    ended = key(revoked_at="2026-01-02T00:00:00Z")
    again = answers(problem(503, "store_unavailable"), httpx.Response(200, json=ended))
    assert keys(again, "revoke", "k1").revoked_at == datetime(2026, 1, 2, tzinfo=UTC)
    pages = [{"items": [key("a")], "next_cursor": "x"}, {"items": [key("b")]}]
    found = keys(answers(*(httpx.Response(200, json=page) for page in pages)), "iter", page_size=1)
    assert [item.id for item in found] == ["a", "b"]
    assert [request.method for request in keys.requests] == ["GET", "DELETE", "DELETE", "GET", "GET"]
    for name in ("get", "revoke"):
        with pytest.raises(InvalidRequest, match="empty"):
            keys(answers(), name, " ")


def test_of_a_whole_token_only_the_id_is_sent(keys: Shell) -> None:
    with pytest.raises(NotFound):
        keys(answers(problem(404, "key_not_found")), "revoke", f" {TOKEN}\n")
    assert str(keys.requests[-1].url) == f"{URL}/v1/keys/0123456789abcdef"


def test_keys_that_are_not_taken(shell: Shell) -> None:
    with pytest.raises(NotAuthenticated) as caught:
        shell(answers(problem(401, "unauthenticated")), "get", "s1")
    assert caught.value.request_id == "r-1"
    with pytest.raises(NotPermitted):
        shell(answers(problem(403, "scope_missing")), "get", "s1")
    # From a proxy, or a newer service.
    with pytest.raises(NotAuthenticated):
        shell(answers(problem(401, "another")), "get", "s1")
    assert len(shell.requests) == 3


# --- which key is sent ----------------------------------------------------------------------------------


def sent(monkeypatch: pytest.MonkeyPatch, environment: str | None, own: str | None, **options: Any) -> str | None:
    """The `Authorization` that a client sends, with `TOKENFORCE_KEY` as given and `own` as its http client's."""
    monkeypatch.delenv("TOKENFORCE_KEY", raising=False)
    if environment is not None:
        monkeypatch.setenv("TOKENFORCE_KEY", environment)
    seen: list[str | None] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200, json={"items": []})

    headers = {"authorization": own} if own else {}
    with (
        httpx.Client(transport=httpx.MockTransport(handler), headers=headers) as http_client,
        Client(URL, http_client=http_client, **options) as client,
    ):
        assert list(client.scans.iter()) == []
    return seen[0]


def test_which_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sent(monkeypatch, None, None) is None
    assert sent(monkeypatch, "", None) is None
    assert sent(monkeypatch, "tf_env\n", None) == "Bearer tf_env"
    assert sent(monkeypatch, "tf_env", "Basic own") == "Basic own"
    assert sent(monkeypatch, "tf_env", "Basic own", key="tf_given") == "Bearer tf_given"
    assert sent(monkeypatch, "tf_env", None, key="tf_given") == "Bearer tf_given"


@pytest.mark.parametrize("bad", ["tf_é", "tf_a b", "tf_a\nb", "tf_a\x00"])
def test_what_cannot_be_a_key_is_not_quoted(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    for client in (Client, AsyncClient):
        with pytest.raises(NotConfigured, match="the key is not a key") as caught:
            client(URL, key=bad)
        assert bad not in str(caught.value)
    if "\x00" not in bad:
        monkeypatch.setenv("TOKENFORCE_KEY", bad)
        with pytest.raises(NotConfigured, match="TOKENFORCE_KEY is not a key"):
            Client(URL)
