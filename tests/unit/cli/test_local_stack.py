"""The stack that the command line starts itself: a scripted one, as a real child process."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support.fake_service import FakeService, start_cli
from tests.support.fake_stack import FAKE_STACK
from tests.support.tiny_adapter import write_adapter
from tokenforce.cli import local_stack
from tokenforce.cli.app import main

pytestmark = pytest.mark.usefixtures("quick")

Capture = pytest.CaptureFixture[str]
KEY = "tf_0123456789abcdef_" + "k" * 43


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: FakeService) -> Path:
    """A stack of our own in front of the installed one; the file it writes down what happens to it in."""
    package = tmp_path / "path" / "tokenforce_service"
    (package / "local").mkdir(parents=True)
    for folder in (package, package / "local"):
        (folder / "__init__.py").touch()
    (package / "local" / "stack.py").write_text(FAKE_STACK)
    python_path = [str(package.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(python_path))
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delenv("TOKENFORCE_URL")
    monkeypatch.setenv("FAKE_STACK", "serves")
    monkeypatch.setenv("FAKE_STACK_URL", service.url)
    monkeypatch.setenv("FAKE_STACK_NOTES", str(tmp_path / "notes"))
    (tmp_path / "key").write_text(f"{KEY}\n")
    monkeypatch.setenv("FAKE_STACK_KEY_FILE", str(tmp_path / "key"))
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
    assert set(service.keys) == {f"Bearer {KEY}"}
    arguments, safe_path, end = notes.read_text().splitlines()
    assert json.loads(arguments.removeprefix("argv ")) == [
        "--until-stdin-closes",
        "--ephemeral",
        "--root",
        str(hostile),
    ]
    assert (safe_path, end) == ("safe_path True", "stopped in order")


def test_the_stack_may_read_the_base_that_an_adapter_names(notes: Path, tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").touch()
    write_adapter(adapter, base)
    assert main(["scan", str(adapter)]) == 0
    arguments = json.loads(notes.read_text().splitlines()[0].removeprefix("argv "))
    assert arguments[2:] == ["--root", str(adapter), "--root", str(base)]


@pytest.mark.usefixtures("notes")
def test_waiting_for_another_scan_is_told_and_costs_no_deadline(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_STACK", "waits")
    monkeypatch.setattr("tokenforce.cli.local_stack.SECONDS_TO_START", 1.5)
    assert main(["scan", "org/model"]) == 0
    assert "another scan is running on this machine; waiting for it" in capsys.readouterr().err


def test_a_missing_folder_needs_no_stack(notes: Path, capsys: Capture) -> None:
    assert main(["scan", "/does/not/exist"]) == 3
    assert "model_not_found: /does/not/exist is not a folder" in capsys.readouterr().err
    assert not notes.exists()


def test_an_interrupt_cancels_first_and_then_stops_the_stack(service: FakeService, notes: Path) -> None:
    service.ends = None
    process = start_cli("scan", "org/model")
    service.wait_for("GET /v1/scans/s1")
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
    monkeypatch.setattr("tokenforce.cli.local_stack.importlib.util.find_spec", lambda _name: None)
    assert main(["scan", "org/model"]) == 2
    assert "make setup" in capsys.readouterr().err


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
    process = start_cli("up", "--root", str(tmp_path), "--port", "8123")
    assert process.stdout is not None
    assert process.stdout.readline() == f"{service.url}\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert f'export TOKENFORCE_URL={service.url} TOKENFORCE_KEY="$(cat {tmp_path}/key)"' in err
    assert KEY not in err
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
    monkeypatch.setattr(local_stack, "SECONDS_TO_STOP", 0.1)
    monkeypatch.setattr(local_stack, "SECONDS_TO_DIE", 0.1)
    with local_stack.LocalStack() as stack:
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
