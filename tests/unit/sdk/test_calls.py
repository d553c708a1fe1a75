"""What the SDK asks a service and makes of the answers, through the sync and the async client."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from typing import Any

import httpx
import pytest

import tokenforce
from tests.support.fake_transport import URL, Shell, answers, problem, scan
from tokenforce import AsyncClient, Client, CustomContext, ScanRequest
from tokenforce.sdk.calls import Call, reader
from tokenforce.sdk.fingerprints import AsyncFingerprints, Fingerprints
from tokenforce.sdk.keys import AsyncKeys, Keys
from tokenforce.sdk.scans import AsyncScans, Scans
from tokenforce.sdk.stats import AsyncStatsCalls, StatsCalls
from tokenforce.sdk.transport import AsyncTransport, Transport
from tokenforce.sdk.upload_hooks import AsyncHooks, Hooks
from tokenforce.sdk.webhooks import AsyncWebhooks, Webhooks

SHELLS = [
    (Scans, AsyncScans),
    (Fingerprints, AsyncFingerprints),
    (Keys, AsyncKeys),
    (Webhooks, AsyncWebhooks),
    (Hooks, AsyncHooks),
    (StatsCalls, AsyncStatsCalls),
    (Transport, AsyncTransport),
]


def finding(rank: int) -> dict[str, Any]:
    return {
        "rank": rank,
        "text": f"text {rank}",
        "token_ids": [1, 2],
        "token_probabilities": [0.5],
        "mean_probability": 0.5,
        "sweep_score": 0.5,
        "score": 0.5,
        "repetition": {"period": 0, "unit": "", "share": 0.0},
        "context": "bos",
        "forced_token": {"id": 1, "text": "text"},
    }


def test_create_sends_the_options_and_nothing_unset(shell: Shell) -> None:
    contexts = ["bos", CustomContext(name="mine", text="Hi")]
    created = shell(
        answers(httpx.Response(202, json=scan("queued"))), "create", model="a/b", contexts=contexts, alpha=8
    )
    (request,) = shell.requests
    assert (request.method, str(request.url)) == ("POST", f"{URL}/v1/scans")
    assert json.loads(request.content) == {
        "model": "a/b",
        "preset": "standard",
        "contexts": ["bos", {"name": "mine", "text": "Hi"}],
        "alpha": 8,
        "priority": "normal",
        "force": False,
    }
    assert (created.id, created.status) == ("s1", tokenforce.ScanStatus.queued)


def test_create_refuses_a_wrong_option_without_asking(shell: Shell) -> None:
    with pytest.raises(tokenforce.InvalidRequest, match=r"alpha: .*greater") as caught:
        shell(answers(), "create", model="a/b", alpha=0)
    assert caught.value.code == "invalid_request"
    assert shell.requests == []


@pytest.mark.parametrize(
    ("name", "method", "path"),
    [
        ("get", "GET", "/v1/scans/a%2F..%2Fb"),
        ("report", "GET", "/v1/scans/a%2F..%2Fb/report"),
        ("cancel", "DELETE", "/v1/scans/a%2F..%2Fb"),
        ("findings", "GET", "/v1/scans/a%2F..%2Fb/findings"),
    ],
)
def test_an_id_cannot_leave_its_path(shell: Shell, name: str, method: str, path: str) -> None:
    with pytest.raises(tokenforce.NotFound):
        shell(answers(problem(404, "scan_not_found")), name, "a/../b")
    assert (shell.requests[0].method, shell.requests[0].url.raw_path.decode()) == (method, path)


def test_an_empty_id_is_not_the_list(shell: Shell) -> None:
    with pytest.raises(tokenforce.InvalidRequest, match="empty"):
        shell(answers(), "get", "")


def test_findings_go_on_to_the_last_page(shell: Shell) -> None:
    pages = {
        None: {"items": [finding(1), finding(2)], "next_cursor": "c2", "partial": False},
        "c2": {"items": [], "next_cursor": "c3", "partial": False},
        "c3": {"items": [finding(3)], "next_cursor": None, "partial": False},
    }
    found = shell(
        lambda request: httpx.Response(200, json=pages[request.url.params.get("cursor")]),
        "findings",
        "s1",
        order=tokenforce.Order.repetition,
        page_size=2,
    )
    assert [item.rank for item in found] == [1, 2, 3]
    assert {(r.url.params["order"], r.url.params["limit"]) for r in shell.requests} == {("repetition", "2")}


def test_iter_lists_every_scan(shell: Shell) -> None:
    pages = [{"items": [scan(scan_id="a")], "next_cursor": "x"}, {"items": [scan(scan_id="b")]}]
    found = shell(answers(*(httpx.Response(200, json=page) for page in pages)), "iter")
    assert [item.id for item in found] == ["a", "b"]


def test_a_cursor_that_leads_to_itself_is_an_error(shell: Shell) -> None:
    page = {"items": [scan()], "next_cursor": "same"}
    with pytest.raises(tokenforce.UnexpectedAnswer, match="again and again"):
        shell(lambda _request: httpx.Response(200, json=page), "iter")


@pytest.mark.parametrize("url", ["", "nowhere", "ftp://host", "http://", "http://a\x00b"])
def test_an_unusable_address_is_told_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKENFORCE_URL", raising=False)
    for kind in (Client, AsyncClient):
        with pytest.raises(tokenforce.NotConfigured):
            kind(url)


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENFORCE_URL", "http://from.env/")
    with Client() as client:
        assert client.url == "http://from.env"
    with Client("http://given/prefix/") as client:
        assert client.url == "http://given/prefix"


@pytest.mark.parametrize(("sync", "other"), SHELLS, ids=[sync.__name__ for sync, _ in SHELLS])
def test_both_clients_have_the_same_calls_and_options(sync: type, other: type) -> None:
    def calls(kind: type) -> dict[str, list[str]]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: [str(p) for p in inspect.signature(call).parameters.values()] for name, call in found}

    def public(kind: type) -> dict[str, list[str]]:
        return {name: options for name, options in calls(kind).items() if not name.startswith("_")}

    assert public(sync) == public(other) != {}
    for name in public(sync):
        if inspect.getdoc(getattr(sync, name)):
            assert f"As `{sync.__name__}.{name}`, with `" in str(inspect.getdoc(getattr(other, name)))


def test_create_knows_every_option_of_the_wire() -> None:
    assert set(inspect.signature(Scans.create).parameters) - {"self"} == set(ScanRequest.model_fields)


def test_the_public_surface_is_what_all_says() -> None:
    assert tokenforce.__all__ == sorted(tokenforce.__all__)
    assert all(hasattr(tokenforce, name) for name in tokenforce.__all__)


def test_pauses_are_real() -> None:
    """Every other test replaces them."""
    began = time.monotonic()
    Transport(URL, key=None, http_client=None, timeout=1).pause(0.02)
    asyncio.run(AsyncTransport(URL, key=None, http_client=None, timeout=1).pause(0.02))
    assert time.monotonic() - began >= 0.04


def test_no_message_shows_the_password_of_an_address() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("down"):
            raise httpx.ConnectError("refused")
        return httpx.Response(200, text="<html>")

    with (
        httpx.Client(transport=httpx.MockTransport(answer)) as http,
        Client("http://user:pass-word@service.test", http_client=http) as client,
    ):
        for path, kind in (("/down", tokenforce.ConnectionFailed), ("/page", tokenforce.UnexpectedAnswer)):
            with pytest.raises(kind, match=r"http://service\.test") as caught:
                client.transport.send(Call("GET", path, reader(tokenforce.Scan), attempts=1))
            assert "pass-word" not in str(caught.value)


def test_results_are_frozen(shell: Shell) -> None:
    found = shell(answers(httpx.Response(200, json=scan())), "get", "s1")
    with pytest.raises(ValueError, match="frozen"):
        found.status = "succeeded"
