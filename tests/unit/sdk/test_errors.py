"""What the SDK does when a call goes wrong: typed errors and retries, through both clients."""

from __future__ import annotations

import re

import httpx
import pytest

import tokenforce
from tests.support.fake_transport import Clock, Shell, answers, problem, scan


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
    "failure",
    [
        httpx.ReadTimeout("slow"),
        problem(503, "store_unavailable"),
        problem(429, "rate_limited", **{"retry-after": "1"}),
        problem(409, "idempotency_in_flight", **{"retry-after": "1"}),
    ],
    ids=["lost answer", "store away", "too fast", "still being done"],
)
def test_create_is_sent_again_under_one_key(shell: Shell, failure: httpx.Response | Exception) -> None:
    """An answer that got lost may have been a 202: the service tells by the key that it is the same request."""
    made = httpx.Response(202, json=scan("queued"))
    assert shell(answers(failure, made), "create", model="a/b").id == "s1"
    first, again = (request.headers["idempotency-key"] for request in shell.requests)
    assert first == again
    assert re.fullmatch(r'"[0-9a-f-]{36}"', first)
    shell(answers(made), "create", model="a/b")
    assert shell.requests[-1].headers["idempotency-key"] != first


def test_a_conflict_that_names_no_time_stands(shell: Shell) -> None:
    with pytest.raises(tokenforce.Conflict):
        shell(answers(problem(409, "already_created")), "create", model="a/b")
    assert len(shell.requests) == 1


@pytest.mark.parametrize("code", ["rate_limited", "quota_exceeded"])
def test_a_used_up_quota_says_when_to_go_on(shell: Shell, clock: Clock, code: str) -> None:
    with pytest.raises(tokenforce.RateLimited) as caught:
        shell(answers(problem(429, code, **{"retry-after": "3600"})), "create", model="a/b")
    assert (caught.value.retry_after, clock.slept) == (3600.0, [])


def test_other_errors_are_not_tried_again(shell: Shell, clock: Clock) -> None:
    with pytest.raises(tokenforce.ServerError):
        shell(answers(problem(500, "internal_error")), "get", "s1")
    assert clock.slept == []
