"""Waiting for a scan with the SDK, through both clients, on a clock of our own."""

from __future__ import annotations

import httpx
import pytest

import tokenforce
from tests.support.fake_transport import Clock, Shell, answers, scan


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
