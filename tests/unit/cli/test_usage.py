"""What the command line answers before any service does."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tokenforce.cli.app import main

pytestmark = pytest.mark.usefixtures("quick")

Capture = pytest.CaptureFixture[str]


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
        ["fingerprints"],
        ["fingerprints", "list"],
        ["fingerprints", "show"],
        ["fingerprints", "add", "--owner", "A", "--licence", "L"],
        ["fingerprints", "add", "--owner", "A", "--licence", "L", "--text", "x" * 20, "--text-file", "f"],
        ["fingerprints", "add", "--owner", "A", "--licence", "L", "--text-file", "-", "--triggers-file", "-"],
        ["fingerprints", "add", "--owner", "A", "--licence", "L", "--text-file", "/does/not/exist"],
        ["fingerprints", "add", "--owner", "A", "--licence", "L", "--text", "too short"],
        ["fingerprints", "add", "--owner", "A", "--licence", "L", "--text", "too short", "--hashed"],
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


def test_an_unreachable_service_is_said_so(capsys: Capture) -> None:
    assert main(["list", "--url", "http://127.0.0.1:9"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tokenforce: no answer from http://127.0.0.1:9: ")
    assert captured.err.count("\n") == 1


def test_it_runs_where_there_is_no_hangup_signal(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.delattr(signal, "SIGHUP")
    before = signal.getsignal(signal.SIGTERM)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("tokenforce ")
    assert signal.getsignal(signal.SIGTERM) == before


def test_it_imports_where_posix_signals_and_groups_are_missing() -> None:
    """As on Windows. In a process of its own, with modules that nothing has imported yet."""
    program = (
        "import os, signal, sys\n"
        "for name in ('SIGHUP', 'SIGKILL', 'SIGUSR1', 'SIGCHLD'): delattr(signal, name)\n"
        "for name in ('killpg', 'fork', 'setsid'): delattr(os, name)\n"
        "from tokenforce.cli.app import main\n"
        "sys.exit(main(['list', '--url', 'http://127.0.0.1:9']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tokenforce: no answer from http://127.0.0.1:9")


def test_it_starts_without_loading_what_it_does_not_use() -> None:
    program = "import sys, tokenforce.cli.app; print([m for m in ('asyncio', 'numpy', 'redis') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
