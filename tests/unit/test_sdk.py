"""The SDK against a scripted service: every test runs through the sync and the async client."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import tokenforce
from tokenforce import AsyncClient, Client, CustomContext, ErrorCode, ScanRequest, errors
from tokenforce.aio import AsyncScans
from tokenforce.client import Scans

URL = "http://service.test"
Handler = Callable[[httpx.Request], httpx.Response]


def scan(status: str = "sweeping", *, done: int = 0, scan_id: str = "s1", **more: Any) -> dict[str, Any]:
    return {
        "id": scan_id,
        "status": status,
        "model": "org/model",
        "request": {"model": "org/model"},
        "progress": {"stage": status, "done": done, "total": 100},
        "created_at": "2026-01-01T00:00:00Z",
        "a_field_of_a_newer_service": True,
        **more,
    }


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


def problem(status: int, code: str, detail: str = "do this", **headers: str) -> httpx.Response:
    body = {"title": "no", "status": status, "detail": detail, "code": code, "request_id": "r-1"}
    return httpx.Response(status, json=body, headers={"content-type": "application/problem+json", **headers})


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tokenforce.client.time", SimpleNamespace(sleep=clock.sleep))
    monkeypatch.setattr("tokenforce.aio.asyncio", SimpleNamespace(sleep=clock.sleep_async))
    monkeypatch.setattr("tokenforce.waiting.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


class Shell:
    """Calls `client.scans.NAME(...)` of one of the two clients; iterators come back as lists."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.requests: list[httpx.Request] = []

    def __call__(self, handler: Handler, name: str, *args: Any, **options: Any) -> Any:
        def record(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            return handler(request)

        transport = httpx.MockTransport(record)
        if self._kind == "async":
            return asyncio.run(self._call_async(transport, name, args, options))
        with httpx.Client(transport=transport) as http_client, Client(URL, http_client=http_client) as client:
            result = getattr(client.scans, name)(*args, **options)
            return list(result) if isinstance(result, Iterator) else result

    async def _call_async(self, transport: httpx.MockTransport, name: str, args: Any, options: Any) -> Any:
        async with (
            httpx.AsyncClient(transport=transport) as http_client,
            AsyncClient(URL, http_client=http_client) as client,
        ):
            result = getattr(client.scans, name)(*args, **options)
            if isinstance(result, AsyncIterator):
                return [item async for item in result]
            return await result


@pytest.fixture(params=["sync", "async"])
def shell(request: pytest.FixtureRequest) -> Shell:
    return Shell(request.param)


def answers(*responses: httpx.Response | Exception) -> Handler:
    """Answers in this order; one request more is a failure of the test."""
    left = list(responses)

    def handler(_request: httpx.Request) -> httpx.Response:
        response = left.pop(0)
        if isinstance(response, Exception):
            raise response
        return httpx.Response(response.status_code, headers=response.headers, content=response.content)

    return handler


# --- requests ---------------------------------------------------------------------------------------


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
        ("findings", "GET", "/v1/scans/a%2F..%2Fb/findings?order=probability"),
    ],
)
def test_an_id_cannot_leave_its_path(shell: Shell, name: str, method: str, path: str) -> None:
    with pytest.raises(tokenforce.NotFound):
        shell(answers(problem(404, "scan_not_found")), name, "a/../b")
    assert (shell.requests[0].method, shell.requests[0].url.raw_path.decode()) == (method, path)


def test_an_empty_id_is_not_the_list(shell: Shell) -> None:
    with pytest.raises(tokenforce.InvalidRequest, match="empty"):
        shell(answers(), "get", "")


# --- paging -----------------------------------------------------------------------------------------


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


# --- errors -----------------------------------------------------------------------------------------


def test_every_code_of_the_wire_has_a_class() -> None:
    assert set(errors.CLASS_OF_CODE) == set(ErrorCode)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (422, "invalid_request", tokenforce.InvalidRequest),
        (404, "scan_not_found", tokenforce.NotFound),
        (409, "scan_finished", tokenforce.Conflict),
        (422, "pickle_weights", tokenforce.Refused),
        (404, "model_not_found", tokenforce.Refused),  # the code decides before the status
        (507, "storage_full", tokenforce.ServiceUnavailable),
        (500, "internal_error", tokenforce.ServerError),
        (404, "a_code_of_tomorrow", tokenforce.NotFound),
        (418, "a_code_of_tomorrow", tokenforce.InvalidRequest),
        (501, "a_code_of_tomorrow", tokenforce.ServerError),
    ],
)
def test_problem_documents_become_typed_errors(
    shell: Shell, status: int, code: str, kind: type[tokenforce.ApiError]
) -> None:
    with pytest.raises(tokenforce.ApiError) as caught:
        shell(answers(problem(status, code)), "get", "s1")
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code, error.detail, error.request_id) == (status, code, "do this", "r-1")


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (httpx.Response(200, text="<html>"), tokenforce.UnexpectedAnswer),
        (httpx.Response(200, json={"id": 1}), tokenforce.UnexpectedAnswer),
        (httpx.Response(404, text="no such page"), tokenforce.UnexpectedAnswer),
        (httpx.Response(302, headers={"location": "/login"}), tokenforce.UnexpectedAnswer),
        (httpx.Response(304), tokenforce.UnexpectedAnswer),
        (httpx.Response(500, text="oops"), tokenforce.ServerError),
    ],
)
def test_answers_of_something_else(shell: Shell, response: httpx.Response, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        shell(answers(response), "get", "s1")


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


# --- retries ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), *(httpx.Response(s) for s in (429, 502, 504))]
)
def test_reads_are_tried_again(shell: Shell, clock: Clock, failure: httpx.Response | Exception) -> None:
    found = shell(answers(failure, failure, httpx.Response(200, json=scan())), "get", "s1")
    assert found.id == "s1"
    assert len(clock.slept) == 2
    assert 0.25 <= clock.slept[0] <= 0.5 <= clock.slept[1] <= 1.0


def test_retries_end(shell: Shell, clock: Clock) -> None:
    def refuse(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(tokenforce.ConnectionFailed, match=r"service\.test: refused"):
        shell(refuse, "get", "s1")
    assert len(shell.requests) == 5
    assert sum(clock.slept) < 10


def test_retry_after_is_obeyed(shell: Shell, clock: Clock) -> None:
    busy = problem(503, "store_unavailable", **{"retry-after": "7"})
    shell(answers(busy, httpx.Response(202, json=scan("cancelled"))), "cancel", "s1")
    assert clock.slept == [7.0]


def test_a_long_retry_after_is_an_error_that_carries_it(shell: Shell, clock: Clock) -> None:
    with pytest.raises(tokenforce.ServiceUnavailable) as caught:
        shell(answers(problem(503, "store_unavailable", **{"retry-after": "3600"})), "get", "s1")
    assert (caught.value.retry_after, clock.slept) == (3600.0, [])


@pytest.mark.parametrize("retry_after", ["Wed, 21 Oct 2026 07:28:00 GMT", "nan", "-1", "inf"])
def test_an_odd_retry_after_counts_as_none(shell: Shell, clock: Clock, retry_after: str) -> None:
    busy = problem(503, "store_unavailable", **{"retry-after": retry_after})
    shell(answers(busy, httpx.Response(200, json=scan())), "get", "s1")
    assert clock.slept[0] <= 0.5


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx.ReadTimeout("slow"), tokenforce.ConnectionFailed),
        (problem(503, "store_unavailable"), tokenforce.ServiceUnavailable),
    ],
)
def test_create_is_sent_once(shell: Shell, failure: httpx.Response | Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        shell(answers(failure), "create", model="a/b")
    assert len(shell.requests) == 1


def test_other_errors_are_not_tried_again(shell: Shell, clock: Clock) -> None:
    with pytest.raises(tokenforce.ServerError):
        shell(answers(problem(500, "internal_error")), "get", "s1")
    assert clock.slept == []


# --- waiting ----------------------------------------------------------------------------------------


def test_wait_reports_progress_and_asks_only_for_news(shell: Shell, clock: Clock) -> None:
    seen: list[tuple[str, int]] = []
    script = answers(
        httpx.Response(200, json=scan(done=1), headers={"etag": 'W/"1"'}),
        httpx.Response(304),
        httpx.Response(200, json=scan(done=9), headers={"etag": 'W/"2"'}),
        httpx.Response(200, json=scan("succeeded"), headers={"etag": 'W/"3"'}),
    )
    ended = shell(
        script, "wait", "s1", poll=2.0, on_progress=lambda progress: seen.append((progress.stage, progress.done))
    )
    assert ended.status == "succeeded"
    assert seen == [("sweeping", 1), ("sweeping", 1), ("sweeping", 9), ("succeeded", 0)]
    assert [r.headers.get("if-none-match") for r in shell.requests] == [None, 'W/"1"', 'W/"1"', 'W/"2"']
    assert clock.slept == [2.0, 2.0, 2.0]


def test_wait_keeps_its_deadline(shell: Shell, clock: Clock) -> None:
    with pytest.raises(tokenforce.WaitTimeout, match="still sweeping after 5 s") as caught:
        shell(lambda _request: httpx.Response(200, json=scan(done=3)), "wait", "s1", timeout=5, poll=2)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.scan.progress.done == 3
    assert clock.slept == [2, 2, 1]


def test_wait_with_no_time_looks_once(shell: Shell) -> None:
    with pytest.raises(tokenforce.WaitTimeout):
        shell(answers(httpx.Response(200, json=scan())), "wait", "s1", timeout=0)
    assert shell(answers(httpx.Response(200, json=scan("succeeded"))), "wait", "s1", timeout=0).id == "s1"


def test_wait_does_not_retry_past_its_deadline(shell: Shell, clock: Clock) -> None:
    def refuse(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(tokenforce.ConnectionFailed):
        shell(refuse, "wait", "s1", timeout=3)
    assert clock.now < 103


def test_wait_outlives_a_restart_of_the_service(shell: Shell, clock: Clock) -> None:
    outage = [httpx.ConnectError("refused")] * 6
    ended = shell(answers(*outage, httpx.Response(200, json=scan("succeeded"))), "wait", "s1")
    assert ended.status == "succeeded"
    assert sum(clock.slept) > 10


def test_a_failed_scan_carries_its_reason(shell: Shell) -> None:
    reason = {"title": "t", "status": 422, "detail": "convert it to safetensors", "code": "pickle_weights"}
    with pytest.raises(tokenforce.ScanFailed, match="convert it") as caught:
        shell(answers(httpx.Response(200, json=scan("failed", error=reason))), "wait", "s1")
    assert (caught.value.code, caught.value.scan.id) == ("pickle_weights", "s1")


def test_a_cancelled_scan_is_told_apart(shell: Shell) -> None:
    with pytest.raises(tokenforce.ScanCancelled):
        shell(answers(httpx.Response(200, json=scan("cancelled"))), "wait", "s1")


# --- guards -----------------------------------------------------------------------------------------


def test_both_clients_have_the_same_calls_and_options() -> None:
    def calls(kind: type) -> dict[str, list[str]]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: [str(p) for p in inspect.signature(call).parameters.values()] for name, call in found}

    sync, other = calls(Scans), calls(AsyncScans)
    del sync["__init__"], other["__init__"]
    assert sync == other


def test_create_knows_every_option_of_the_wire() -> None:
    assert set(inspect.signature(Scans.create).parameters) - {"self"} == set(ScanRequest.model_fields)


def test_the_public_surface_is_what_all_says() -> None:
    assert tokenforce.__all__ == sorted(tokenforce.__all__)
    assert all(hasattr(tokenforce, name) for name in tokenforce.__all__)


def test_results_are_frozen(shell: Shell) -> None:
    found = shell(answers(httpx.Response(200, json=scan())), "get", "s1")
    with pytest.raises(ValueError, match="frozen"):
        found.status = "succeeded"
