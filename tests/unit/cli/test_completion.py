"""What the shell completes, as it asks for it: by environment variables, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.fake_service import FakeService
from tokenforce.cli import keys as cli_keys
from tokenforce.cli.app import main

Capture = pytest.CaptureFixture[str]


def completed(words: str) -> list[str]:
    """What bash is offered for the last of these words."""
    asked = {"_TOKENFORCE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from tokenforce.cli.app import main; sys.exit(main([]))"],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_and_scan_ids(service: FakeService) -> None:
    assert {"watch", "report", "doctor", "scan"} <= set(completed("tokenforce "))
    for command in ("show", "cancel", "report", "watch"):
        assert set(completed(f"tokenforce {command} s")) == {"s1"}
    assert completed("tokenforce show x") == []


def test_without_service_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENFORCE_URL", "http://127.0.0.1:9")
    assert completed("tokenforce show s") == []
    monkeypatch.delenv("TOKENFORCE_URL")
    assert completed("tokenforce show s") == []


def test_the_script_can_be_installed(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    assert "--install-completion" in capsys.readouterr().out


def test_debug_stands_before_any_command(service: FakeService, capsys: Capture) -> None:
    service.fail(404, "scan_not_found")
    assert main(["--debug", "show", "zz"]) == 2
    assert "Traceback" in capsys.readouterr().err
    assert main(["show", "zz"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_internal_error_is_one_line(service: FakeService, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(url: str | None = None) -> None:
        raise LookupError("nobody thought of this\x1b[2J")

    monkeypatch.setattr(cli_keys, "Client", broken)
    assert main(["keys", "list"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert r"internal error: LookupError: nobody thought of this\x1b[2J;" in said
    assert main(["keys", "list", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
