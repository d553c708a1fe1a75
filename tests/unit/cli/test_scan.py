"""`tokenforce scan` against a scripted service: exit codes, options, and how it ends early."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.support.fake_service import FakeService, start_cli
from tests.support.fake_transport import Clock
from tokenforce.cli.app import main
from tokenforce.cli.scans import model_argument
from tokenforce.wire.problems import ErrorCode

pytestmark = pytest.mark.usefixtures("quick")

Capture = pytest.CaptureFixture[str]
WRONG_CALLS = {
    "body_too_large",
    "method_not_allowed",
    "invalid_cursor",
    "invalid_idempotency_key",
    "idempotency_key_reused",
    "webhook_url_refused",
}


@pytest.mark.parametrize(
    ("verdict", "code"), [("clean", 0), ("hidden_text", 1), ("suspicious", 1), ("inconclusive", 3), ("memorised", 5)]
)
@pytest.mark.parametrize("command", [["scan", "org/model"], ["scan", "org/model", "--json"], ["show", "s1"]])
def test_the_verdict_is_the_exit_code(
    service: FakeService, capsys: Capture, command: list[str], verdict: str, code: int
) -> None:
    service.verdict = verdict
    assert main(command) == code
    assert verdict in capsys.readouterr().out


def test_options_reach_the_service(service: FakeService) -> None:
    contexts = ["--context", "bos", "--context", "mine=a=b"]
    numbers = ["--alpha", "3", "--beta", "50", "--floor", "0.95", "--keep", "7"]
    turn = ["--priority", "low", "--force"]
    assert (
        main(["scan", "org/model@main", "--reference", "org/base", "--preset", "paper", *contexts, *numbers, *turn])
        == 0
    )
    assert service.created == [
        {
            "model": "org/model@main",
            "reference": "org/base",
            "preset": "paper",
            "contexts": ["bos", {"name": "mine", "text": "a=b"}],
            "alpha": 3,
            "beta": 50,
            "floor": 0.95,
            "keep": 7,
            "priority": "low",
            "force": True,
        }
    ]


@pytest.mark.parametrize("command", [["scan", "org/model"], ["show", "s1"]])
def test_a_reused_report_says_whose_it_is_and_of_when(
    service: FakeService, capsys: Capture, command: list[str]
) -> None:
    assert main(command) == 0
    assert "reused" not in "".join(capsys.readouterr())
    service.record = {"reused_from": "scan_0", "measured_at": "2026-01-01T12:00:00Z"}
    assert main(command) == 0
    found = capsys.readouterr()
    assert "report reused: the result of scan_0, measured 2026-01-01" in found.out
    assert ("use --force to scan again" in found.err) == (command[0] == "scan")


def test_a_reused_report_is_named_beside_json_too(service: FakeService, capsys: Capture) -> None:
    service.record = {"reused_from": "scan_0", "measured_at": "2026-01-01T12:00:00Z"}
    assert main(["scan", "org/model", "--json"]) == 0
    found = capsys.readouterr()
    assert json.loads(found.out)["scan"]["reused_from"] == "scan_0"
    assert "scan_0, measured 2026-01-01" in found.err


def test_a_folder_is_sent_as_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert model_argument("org/model") == f"{tmp_path}/org/model"
    assert model_argument("./missing") == f"{tmp_path}/missing"
    assert model_argument("~/missing") == f"{tmp_path}/missing"
    assert model_argument("org/other@main") == "org/other@main"


@pytest.mark.parametrize("code", [code for code in ErrorCode if code not in ("scan_not_found", "not_found")])
@pytest.mark.parametrize("late", [False, True])
def test_every_code_has_its_exit_code(service: FakeService, capsys: Capture, code: ErrorCode, late: bool) -> None:
    """Refused with the request, or found out while planning: the same answer to the caller."""
    usage = {"invalid_request", "unknown_context", "unknown_preset"}
    if not late:
        usage |= WRONG_CALLS
    errors = {
        "fingerprint_not_found",
        "fingerprint_exists",
        "fingerprint_limit",
        "scan_finished",
        "too_many_streams",
        "store_unavailable",
        "body_too_slow",
        "storage_full",
        "internal_error",
        "unauthenticated",
        "scope_missing",
        "key_not_found",
        "rate_limited",
        "quota_exceeded",
        "overloaded",
        "idempotency_in_flight",
        "already_created",
        "webhook_not_found",
        "name_lookup_failed",
        "webhook_limit",
        "webhook_disabled",
        "delivery_not_found",
        "delivery_pending",
        "hook_not_found",
        "hook_limit",
        "hook_key_ended",
        "hook_secret_unknown",
        "hook_signature_invalid",
        "hook_message_stale",
        "hook_message_reused",
    }
    errors |= WRONG_CALLS - usage
    if late:
        service.ends, service.error = "failed", {"title": "t", "status": 422, "detail": "do this", "code": code}
    else:
        service.fail(418, code)
    assert main(["scan", "org/model"]) == (4 if code in usage else 2 if code in errors else 3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith(f"tokenforce: {code}: do this")


def test_a_store_that_is_down_says_when_to_try_again(service: FakeService, clock: Clock, capsys: Capture) -> None:
    service.fail(503, "store_unavailable", "Redis does not answer", Retry_After="5")
    assert main(["scan", "org/model"]) == 2
    assert clock.slept == [5.0] * len(clock.slept)
    assert clock.slept
    assert "Redis does not answer; try again in 5 s (request r-9)" in capsys.readouterr().err


def test_a_timeout_cancels_the_scan(service: FakeService, capsys: Capture) -> None:
    service.ends = None
    assert main(["scan", "org/model", "--timeout", "0.1"]) == 3
    assert "DELETE /v1/scans/s1" in service.requests
    assert "still sweeping after 0.1 s" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_the_scan(service: FakeService, number: signal.Signals) -> None:
    service.ends = None
    process = start_cli("scan", "org/model")
    service.wait_for("GET /v1/scans/s1")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.splitlines()[-1]) == (130, "", "cancelled")
    assert service.requests[-1] == "DELETE /v1/scans/s1"
