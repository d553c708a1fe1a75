"""The command line against a scripted service on a real socket, and a scripted stack as a real child process."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from rich.console import Console
from tokenforce import local, progress, render
from tokenforce.cli import main
from tokenforce.commands import model_argument
from tokenforce.types import ErrorCode, Progress, Report, ScanStatus

HOSTILE = "\x1b]0;owned\x07\x1b[2J [bold red]x[/] \u202eevil\x9b31m\r\nnext\\n"
HOSTILE_SHOWN = r"\x1b]0;owned\x07\x1b[2J [bold red]x[/] \u202eevil\x9b31m\r\nnext\\n"

FAKE_STACK = """
import json, os, signal, sys, time
def note(line):
    with open(os.environ["FAKE_STACK_NOTES"], "a") as file:
        file.write(line + "\\n")
note("argv " + json.dumps(sys.argv[1:]))
note(f"safe_path {sys.flags.safe_path}")
mode = os.environ["FAKE_STACK"]
if mode == "refuses":
    sys.exit("some warning\\nport 80 is taken")
if mode == "babbles":
    print("hello", flush=True)
    sys.exit(0)
url, reused = os.environ["FAKE_STACK_URL"], mode == "reused"
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(json.dumps({"url": url, "pid": os.getpid(), "reused": reused, "home": "/h", "logs": "/l"}), flush=True)
if mode == "reused":
    sys.exit(0)
if mode == "dies":
    sys.exit("out of memory")
if mode == "stubborn":
    time.sleep(600)
sys.stdin.read()
note("stopped in order")
"""


def finding(rank: int = 1, text: str = "hidden", **more: Any) -> dict[str, Any]:
    return {
        "rank": rank,
        "text": text,
        "token_ids": [1, 2],
        "token_probabilities": [0.5],
        "mean_probability": 0.98765,
        "sweep_score": 0.98765,
        "score": 0.98765,
        "repetition": {"period": 12, "unit": "u", "share": 0.97},
        "context": "bos",
        "forced_token": {"id": 1, "text": text},
        **more,
    }


def report(verdict: str, findings: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema_version": "1.0",
        "verdict": verdict,
        "reasons": ["because of " + HOSTILE],
        "scan": {
            "id": "s1",
            "target": {"model": "org/model", "digest": "d", "architecture": "Llama", "vocabulary_size": 9},
            "settings": {
                "preset": "standard",
                "alpha": 16,
                "beta": 50,
                "floor": 0.5,
                "keep": 10,
                "min_tokens": 5,
                "count_forced_token": False,
                "stop_at_end": True,
            },
            "contexts": [{"name": "bos", "ids": [0], "text": "<s>", "aligned": True}],
            "forced": 9,
            "skipped": [],
            "versions": {},
            "timings_seconds": {},
            "forward_tokens": 90,
            "created_at": "2026-01-01T00:00:00Z",
            "finished_at": "2026-01-01T00:00:07Z",
        },
        "findings": findings,
    }


class FakeService:
    """Holds one scan, which ends with the first look unless `ends` is None."""

    def __init__(self) -> None:
        self.ends: str | None = "succeeded"
        self.error: dict[str, Any] | None = None
        self.problem: tuple[int, dict[str, Any], dict[str, str]] | None = None
        self.verdict = "clean"
        self.findings: list[dict[str, Any]] = []
        self.created: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.url = ""

    def scan(self, status: str) -> dict[str, Any]:
        return {
            "id": "s1",
            "status": status,
            "model": "org/model",
            "request": {"model": "org/model"},
            "progress": {"stage": status, "done": 5, "total": 9, "tokens_per_second": 340.2, "eta_seconds": 61},
            "created_at": "2026-01-01T00:00:00Z",
            "verdict": self.verdict if status == "succeeded" else None,
            "error": self.error if status == "failed" else None,
        }

    def fail(self, status: int, code: str, detail: str = "do this", **headers: str) -> None:
        document = {"title": "t", "status": status, "detail": detail, "code": code, "request_id": "r-9"}
        self.problem = (status, document, {name.replace("_", "-"): value for name, value in headers.items()})

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, dict[str, Any], dict[str, str]]:
        self.requests.append(f"{method} {target}")
        if self.problem:
            return self.problem
        url = urlsplit(target)
        if method == "POST":
            self.created.append(json.loads(body))
            return 202, self.scan("queued"), {}
        if method == "DELETE":
            self.ends = "cancelled"
            return 202, self.scan("cancelled"), {}
        if url.path == "/v1/scans":
            return 200, {"items": [self.scan("sweeping"), self.scan("succeeded")]}, {}
        if url.path.endswith("/report"):
            if self.ends != "succeeded":
                return 409, {"title": "t", "status": 409, "detail": "not yet", "code": "report_not_ready"}, {}
            return 200, report(self.verdict, self.findings), {}
        if url.path.endswith("/findings"):
            found = self.findings
            if parse_qs(url.query)["order"] == ["repetition"]:
                found = found[::-1]
            return 200, {"items": found, "partial": False}, {}
        return 200, self.scan(self.ends or "sweeping"), {}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    fake = FakeService()

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, document, headers = fake.answer(self.command, self.path, body)
            content = json.dumps(document).encode()
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = respond

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("TOKENFORCE_URL", fake.url)
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKENFORCE_URL", raising=False)
    monkeypatch.setattr("tokenforce.waiting.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("tokenforce.commands.SECONDS_BETWEEN_LOOKS", 0.01)


Capture = pytest.CaptureFixture[str]

# --- scan -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "code"), [("clean", 0), ("hidden_text", 1), ("suspicious", 1), ("inconclusive", 3)]
)
@pytest.mark.parametrize("command", [["scan", "org/model"], ["scan", "org/model", "--json"], ["show", "s1"]])
def test_the_verdict_is_the_exit_code(
    service: FakeService, capsys: Capture, command: list[str], verdict: str, code: int
) -> None:
    service.verdict = verdict
    assert main(command) == code
    assert verdict in capsys.readouterr().out


def test_json_prints_exactly_the_report(service: FakeService, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    service.findings = [finding(text=HOSTILE + " äé")]
    main(["scan", "org/model", "--json"])
    printed = capfdbinary.readouterr()
    expected = Report.model_validate(report("clean", service.findings)).model_dump_json(indent=2)
    assert printed.out == expected.encode() + b"\n"
    assert b"sweeping" not in printed.out
    assert b"queued" in printed.err or b"succeeded" in printed.err


def test_a_hostile_text_is_shown_and_not_obeyed(service: FakeService, capsys: Capture) -> None:
    service.verdict = "hidden_text"
    service.findings = [finding(text=HOSTILE)]
    assert main(["scan", "org/model"]) == 1
    out = capsys.readouterr().out
    assert f'"{HOSTILE_SHOWN}"' in out
    assert f"- because of {HOSTILE_SHOWN}\n" in out
    assert all(char.isprintable() for char in out.replace("\n", ""))


def test_json_on_a_terminal_keeps_c1_controls_escaped(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.dumps("\x9b31m é", ensure_ascii=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    render.print_json(document)
    out = capsys.readouterr().out
    assert "\x9b" not in out
    assert json.loads(out) == "\x9b31m é"


def test_the_table_has_the_evidence_and_obeys_top_and_order(service: FakeService, capsys: Capture) -> None:
    service.findings = [finding(rank, f"text-{rank}") for rank in (1, 2, 3)]
    main(["scan", "org/model", "--top", "2"])
    out = capsys.readouterr().out
    assert "0.9877" in out
    assert "97% × 12" in out
    assert '"text-1"' in out
    assert "text-3" not in out
    assert "2 of 3 findings" in out
    main(["scan", "org/model", "--top", "1", "--order", "repetition"])
    assert "text-3" in capsys.readouterr().out


@pytest.mark.parametrize("columns", ["80", "200"])
def test_a_long_token_does_not_crowd_out_the_text(
    service: FakeService, capsys: Capture, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = "-" * 128 + " the hidden sentence " + "x" * 999
    service.findings = [finding(text=text, context="a-context-of-thirty-two-charact.")]
    main(["scan", "org/model"])
    out = capsys.readouterr().out
    assert out.count("-") > 128
    assert "hidden" in out
    assert "more" in out
    assert "x" * 400 not in "".join(out.split())
    assert "0.9877" in out


def test_options_reach_the_service(service: FakeService) -> None:
    contexts = ["--context", "bos", "--context", "mine=a=b"]
    numbers = ["--alpha", "3", "--beta", "50", "--floor", "0.95", "--keep", "7"]
    assert main(["scan", "org/model@main", "--preset", "paper", *contexts, *numbers]) == 0
    assert service.created == [
        {
            "model": "org/model@main",
            "preset": "paper",
            "contexts": ["bos", {"name": "mine", "text": "a=b"}],
            "alpha": 3,
            "beta": 50,
            "floor": 0.95,
            "keep": 7,
        }
    ]


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
        usage |= {"body_too_large", "method_not_allowed", "invalid_cursor"}
    errors = {"scan_finished", "store_unavailable", "storage_full", "internal_error"}
    errors |= {"body_too_large", "method_not_allowed", "invalid_cursor"} - usage
    if late:
        service.ends, service.error = "failed", {"title": "t", "status": 422, "detail": "do this", "code": code}
    else:
        service.fail(418, code)
    assert main(["scan", "org/model"]) == (4 if code in usage else 2 if code in errors else 3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith(f"tokenforce: {code}: do this")


def test_errors_are_one_harmless_line_and_a_traceback_only_with_debug(service: FakeService, capsys: Capture) -> None:
    service.fail(422, "unsupported_architecture", f"cannot load {HOSTILE}")
    assert main(["scan", "org/model"]) == 3
    assert capsys.readouterr().err == f"tokenforce: unsupported_architecture: cannot load {HOSTILE_SHOWN}\n"
    assert main(["scan", "org/model", "--debug"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_a_store_that_is_down_says_when_to_try_again(service: FakeService, capsys: Capture) -> None:
    service.fail(503, "store_unavailable", "Redis does not answer", Retry_After="5")
    assert main(["scan", "org/model"]) == 2
    assert "Redis does not answer; try again in 5 s (request r-9)" in capsys.readouterr().err


def test_an_unreachable_service_is_said_so(capsys: Capture) -> None:
    assert main(["list", "--url", "http://127.0.0.1:9"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tokenforce: no answer from http://127.0.0.1:9: ")
    assert captured.err.count("\n") == 1


def test_a_timeout_cancels_the_scan(service: FakeService, capsys: Capture) -> None:
    service.ends = None
    assert main(["scan", "org/model", "--timeout", "0.1"]) == 3
    assert "DELETE /v1/scans/s1" in service.requests
    assert "still sweeping after 0.1 s" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_the_scan(service: FakeService, number: signal.Signals) -> None:
    service.ends = None
    process = start("scan", "org/model")
    wait_until(lambda: "GET /v1/scans/s1" in service.requests)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.splitlines()[-1]) == (130, "", "cancelled")
    assert service.requests[-1] == "DELETE /v1/scans/s1"


@pytest.mark.parametrize(
    "arguments",
    [
        ["scan"],
        ["bogus"],
        ["scan", "m", "--bogus"],
        ["scan", "m", "--alpha", "x"],
        ["scan", "m", "--alpha", "0"],
        ["scan", "m", "--floor", "1.5"],
        ["scan", "m", "--order", "size"],
        ["scan", "m", "--top", "0"],
        ["scan", "m", "--context", "Bad Name=text"],
        ["scan", "m", "--url", "nowhere"],
        ["up", "--root", "/does/not/exist"],
        ["show", "s1"],
        ["list"],
    ],
)
def test_usage_errors_are_one_line_and_exit_4(capsys: Capture, arguments: list[str]) -> None:
    assert main(arguments) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tokenforce: ")
    assert captured.err.count("\n") == 1


def test_help_and_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("tokenforce ")
    assert main([]) == 0
    assert "scan" in capsys.readouterr().out


# --- show, list, cancel -----------------------------------------------------------------------------


def test_show_of_a_running_scan_is_partial_and_not_clean(service: FakeService, capsys: Capture) -> None:
    service.ends, service.findings = None, [finding(text="so far")]
    assert main(["show", "s1"]) == 3
    out = capsys.readouterr().out
    assert "sweeping 5/9" in out
    assert '"so far"' in out
    assert main(["show", "s1", "--json"]) == 3
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_show_of_a_failed_scan_gives_the_reason(service: FakeService, capsys: Capture, options: list[str]) -> None:
    service.ends = "failed"
    service.error = {"title": "t", "status": 422, "detail": "convert it", "code": "pickle_weights"}
    assert main(["show", "s1", *options]) == 3
    captured = capsys.readouterr()
    assert "pickle_weights: convert it" in (captured.err if options else captured.out)


def test_an_unknown_scan_is_an_error(service: FakeService, capsys: Capture) -> None:
    service.fail(404, "scan_not_found", "there is no scan zz")
    assert main(["show", "zz"]) == 2
    assert "scan_not_found: there is no scan zz" in capsys.readouterr().err


@pytest.mark.usefixtures("service")
def test_list_prints_a_table_or_json(capsys: Capture) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "sweeping" in out
    assert "2026-01-01 00:00" in out
    assert main(["list", "--json", "--limit", "1"]) == 0
    assert [item["id"] for item in json.loads(capsys.readouterr().out)] == ["s1"]


def test_cancel(service: FakeService, capsys: Capture) -> None:
    assert main(["cancel", "s1"]) == 0
    assert "cancelled" in capsys.readouterr().out
    service.fail(409, "scan_finished", "the scan has ended")
    assert main(["cancel", "s1"]) == 2


# --- progress ---------------------------------------------------------------------------------------

SWEEPING = Progress(stage=ScanStatus.sweeping, done=5, total=9, tokens_per_second=340.2, eta_seconds=3661)


def test_without_a_terminal_progress_is_a_line_now_and_then(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("tokenforce.progress.time.monotonic", lambda: now[0])
    with progress.progress_display() as display:
        for _ in range(60):
            display.show(SWEEPING)
            now[0] += 0.1
        display.show(Progress(stage=ScanStatus.confirming))
    captured = capsys.readouterr()
    assert captured.out == ""
    line = "sweeping 5/9  340 tokens/s  ETA 1:01:01"
    assert captured.err.splitlines() == [line, line, "confirming"]


def test_on_a_terminal_every_stage_has_its_bar() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with progress.ProgressBars(console) as display:
        display.show(Progress(stage=ScanStatus.queued))
        display.show(SWEEPING)
        display.show(Progress(stage=ScanStatus.succeeded))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    for part in ("queued", "sweeping", "5/9", "340 tokens/s", "ETA 1:01:01"):
        assert part in shown


# --- the local stack --------------------------------------------------------------------------------


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: FakeService) -> Path:
    """A stack of our own in front of the installed one; the file it writes down what happens to it in."""
    package = tmp_path / "path" / "tokenforce_service"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "stack.py").write_text(FAKE_STACK)
    python_path = [str(package.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(python_path))
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delenv("TOKENFORCE_URL")
    monkeypatch.setenv("FAKE_STACK", "serves")
    monkeypatch.setenv("FAKE_STACK_URL", service.url)
    monkeypatch.setenv("FAKE_STACK_NOTES", str(tmp_path / "notes"))
    return tmp_path / "notes"


def test_without_an_address_a_stack_lives_for_the_scan(
    service: FakeService, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = tmp_path / "model"
    hostile.mkdir()
    (hostile / "json.py").write_text("raise SystemExit('imported from the upload')")
    monkeypatch.chdir(hostile)
    assert main(["scan", "."]) == 0
    assert service.created[0]["model"] == str(hostile)
    arguments, safe_path, end = notes.read_text().splitlines()
    assert json.loads(arguments.removeprefix("argv ")) == ["--until-stdin-closes", "--root", str(hostile)]
    assert (safe_path, end) == ("safe_path True", "stopped in order")


def test_a_missing_folder_needs_no_stack(notes: Path, capsys: Capture) -> None:
    assert main(["scan", "/does/not/exist"]) == 3
    assert "model_not_found: /does/not/exist is not a folder" in capsys.readouterr().err
    assert not notes.exists()


def test_an_interrupt_cancels_first_and_then_stops_the_stack(service: FakeService, notes: Path) -> None:
    service.ends = None
    process = start("scan", "org/model")
    wait_until(lambda: "GET /v1/scans/s1" in service.requests)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err.splitlines()[-1]) == (130, "cancelled")
    assert service.requests[-1] == "DELETE /v1/scans/s1"
    assert notes.read_text().endswith("stopped in order\n")


@pytest.mark.parametrize("command", [["scan", "org/model"], ["up"]])
@pytest.mark.parametrize(
    ("mode", "reason"), [("refuses", "did not start: port 80 is taken"), ("babbles", r"it printed 'hello\\n'")]
)
@pytest.mark.usefixtures("service")
def test_a_stack_that_cannot_start_says_why(
    notes: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, command: list[str], mode: str, reason: str
) -> None:
    monkeypatch.setenv("FAKE_STACK", mode)
    assert main(command) == 2
    assert reason in capsys.readouterr().err.splitlines()[-1]
    assert notes.exists()


def test_without_the_service_installed_it_says_how_to_get_it(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenforce.local.importlib.util.find_spec", lambda _name: None)
    assert main(["scan", "org/model"]) == 2
    assert "pip install 'tokenforce[service,cpu]'" in capsys.readouterr().err


def test_a_running_stack_is_used_and_left_alone(
    service: FakeService, notes: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_STACK", "reused")
    assert main(["scan", "org/model"]) == 0
    assert main(["up"]) == 0
    assert service.url in capsys.readouterr().out
    service.fail(422, "path_not_allowed")
    assert main(["scan", str(notes.parent)]) == 3
    assert "tokenforce up --root" in capsys.readouterr().err


def test_up_runs_until_an_interrupt(service: FakeService, notes: Path, tmp_path: Path) -> None:
    process = start("up", "--root", str(tmp_path), "--port", "8123")
    assert process.stdout is not None
    assert process.stdout.readline() == f"{service.url}\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert f"export TOKENFORCE_URL={service.url}" in err
    assert f'["--until-stdin-closes", "--root", "{tmp_path}", "--port", "8123"]' in notes.read_text()
    assert notes.read_text().endswith("stopped in order\n")


@pytest.mark.usefixtures("service", "notes")
def test_up_says_where_the_logs_are_when_the_stack_dies(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_STACK", "dies")
    assert main(["up"]) == 2
    assert "the local stack stopped: out of memory; logs in /l" in capsys.readouterr().err


@pytest.mark.usefixtures("notes")
def test_a_stack_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_STACK", "stubborn")
    monkeypatch.setattr(local, "SECONDS_TO_STOP", 0.1)
    monkeypatch.setattr(local, "SECONDS_TO_DIE", 0.1)
    with local.LocalStack() as stack:
        assert stack.address is not None
        os.kill(stack.address.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(stack.address.pid, 0)


@pytest.mark.usefixtures("service", "notes")
def test_a_stack_that_dies_under_a_scan_says_why(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_STACK", "dies")
    monkeypatch.setenv("FAKE_STACK_URL", "http://127.0.0.1:9")
    assert main(["scan", "org/model"]) == 2
    assert "the local stack stopped: out of memory; logs in /l" in capsys.readouterr().err


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tokenforce", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(reached: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)
