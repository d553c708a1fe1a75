"""The local stack's own process: who shares it, who waits for it, and how it ends. Its parts are scripted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock
from redis import Redis

from tokenforce_service.access.key_store import KeyStore
from tokenforce_service.access.tokens import parse
from tokenforce_service.local import stack
from tokenforce_service.local.valkey import EmbeddedServer, ServerFailed

# The real stack with other commands: a gateway that is ready at once, a worker that gives up when told to.
SCRIPT = """
import sys
from pathlib import Path
from tokenforce_service.local import stack

GATEWAY = '''
import http.server, os
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["TOKENFORCE_PORT"])), Ready).serve_forever()
'''
WORKER = '''
import sys, time
from pathlib import Path
while not Path(sys.argv[1]).exists():
    time.sleep(0.05)
sys.exit(1)
'''
STUBBORN = '''
import os, signal, time
if os.fork() == 0:
    os.setsid()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(600)
'''

class Scripted(stack.Stack):
    def _run(self, name, command, environment):
        code = {"gateway": GATEWAY, "aggregator": STUBBORN, "deliverer": STUBBORN}.get(name, WORKER)
        super()._run(name, [sys.executable, "-c", code, str(self._folder / "give up")], environment)

stack.STOP_SECONDS = 1
stack.Stack = Scripted
sys.exit(stack.main())
"""


@pytest.fixture
def start(tmp_path: Path, server_url: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a stack on one home; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, redis_url: str = server_url) -> subprocess.Popen[str]:
        environment = {**os.environ, "TOKENFORCE_HOME": str(tmp_path), "REDIS_URL": redis_url}
        pipe = subprocess.PIPE
        child = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, "--until-stdin-closes", *arguments],
            env=environment | {"TOKENFORCE_DEVICE": "cpu"},
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )
        started.append(child)
        return child

    yield begin
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()


def line_of(child: subprocess.Popen[str]) -> dict[str, Any]:
    assert child.stdout is not None
    line: dict[str, Any] = json.loads(child.stdout.readline())
    return line


def test_a_lasting_stack_is_shared(start: Callable[..., subprocess.Popen[str]]) -> None:
    first = line_of(start())
    second = start("--ephemeral")
    assert line_of(second) == {**first, "reused": True}
    assert second.communicate(timeout=20)[1] == ""
    assert second.returncode == 0
    assert (first["reused"], first["ephemeral"]) == (False, False)


def test_the_line_names_the_file_of_the_key_and_does_not_hold_it(
    start: Callable[..., subprocess.Popen[str]], redis: Redis
) -> None:
    child = start()
    address = line_of(child)
    token = parse(Path(address["key_file"]).read_text().strip())
    assert token is not None
    row = KeyStore(redis).get(token.key_id)
    assert row is not None
    assert row.proven_by(token.secret)
    assert token.secret not in json.dumps(address)
    assert child.communicate(timeout=20) == ("", "")
    assert line_of(start())["key_file"] == address["key_file"]
    assert [key.id for key in KeyStore(redis).page(9)] == [row.id]


def test_a_stack_without_its_store_says_so(start: Callable[..., subprocess.Popen[str]]) -> None:
    child = start(redis_url="redis://:hunter2@127.0.0.1:1/0")
    assert child.wait(30) == 1
    assert child.stderr is not None
    complaint = child.stderr.read()
    assert "cannot create a key for this stack" in complaint
    assert "hunter2" not in complaint


def test_the_stack_of_one_scan_is_waited_for(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    first = start("--ephemeral")
    line = line_of(first)
    second = start("--ephemeral")
    third = start()
    for waiting in (second, third):
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == "another scan is running on this machine; waiting until it ends\n"
    assert third.communicate(timeout=20) == ("", "")  # its stdin is closed: it gives up, and takes nothing with it
    assert third.returncode == 0
    assert json.loads((tmp_path / "stack.json").read_text()) == line
    assert second.poll() is None
    assert first.communicate(timeout=20) == ("", "")
    own = line_of(second)
    assert (own["pid"], own["reused"]) == (second.pid, False)
    assert second.communicate(timeout=20) == ("", "")  # it complained once only
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_worker_that_gives_up_ends_the_stack_and_names_its_log(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    child = start()
    line_of(child)
    below = psutil.Process(child.pid).children(recursive=True)
    (tmp_path / "give up").touch()
    assert child.wait(20) == 1  # while its stdin is still open
    assert child.stderr is not None
    log = tmp_path / "logs" / "worker-0.log"
    assert child.stderr.read() == f"the worker-0 ended unexpectedly; see {log}\n"
    assert log.exists()
    assert not (tmp_path / "stack.json").exists()
    _, alive = psutil.wait_procs(below, timeout=10)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def test_a_stack_that_never_gets_ready_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOKENFORCE_HOME", str(tmp_path))
    monkeypatch.setattr(stack, "OTHER_SECONDS", 0.3)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with FileLock(tmp_path / "stack.lock", is_singleton=False):
        assert stack.main([]) == 1
    assert capsys.readouterr().err == (
        f"another stack uses {tmp_path} but is not ready; stop it or set TOKENFORCE_HOME\n"
    )


@pytest.mark.parametrize(("given", "expected"), [(None, "hub"), ("elsewhere", "elsewhere")])
def test_downloads_go_to_the_home_folder_unless_told_otherwise(
    tmp_path: Path, server_url: str, monkeypatch: pytest.MonkeyPatch, given: str | None, expected: str
) -> None:
    monkeypatch.setenv("REDIS_URL", server_url)
    monkeypatch.delenv("TOKENFORCE_CACHE_DIR", raising=False)
    if given is not None:
        monkeypatch.setenv("TOKENFORCE_CACHE_DIR", str(tmp_path / given))
    environments: dict[str, dict[str, str]] = {}

    class Recorded(stack.Stack):
        def _run(self, name: str, command: list[str], environment: dict[str, str]) -> None:
            environments[name] = environment

        def _wait_ready(self) -> None:
            pass

    monkeypatch.setattr(stack, "gpus", lambda: ["0", "3"])
    Recorded(tmp_path, [], 0).start()
    assert {environment["TOKENFORCE_CACHE_DIR"] for environment in environments.values()} == {str(tmp_path / expected)}
    assert list(environments) == ["gateway", "aggregator", "deliverer", "worker-0", "worker-1"]
    assert [environments[f"worker-{n}"]["CUDA_VISIBLE_DEVICES"] for n in (0, 1)] == ["0", "3"]


@pytest.mark.parametrize("prepared", ["nothing", "open", "link", "file"])
def test_a_socket_folder_that_others_may_use_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: str
) -> None:
    """A home folder with a long path has its socket under the temporary folder, where anybody may have been before."""
    with tempfile.TemporaryDirectory(prefix="tf") as short:
        monkeypatch.setattr("tempfile.gettempdir", lambda: short)
        server = EmbeddedServer(tmp_path / ("long" * 30))
        folder = server.socket.parent
        assert folder.parent == Path(short)
        if prepared == "open":
            folder.mkdir()
            folder.chmod(0o770)
        elif prepared == "link":
            (tmp_path / "mine").mkdir(mode=0o700)
            folder.symlink_to(tmp_path / "mine")
        elif prepared == "file":
            folder.touch(0o700)
        if prepared == "nothing":
            for _ in range(2):  # the second time it finds its own folder
                server.start(tmp_path / "log")
                server.stop()
            return
        with pytest.raises(ServerFailed, match="is not a private folder of yours; remove it, or set TOKENFORCE_HOME"):
            server.start(tmp_path / "log")


def test_a_socket_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="tf") as short:
        monkeypatch.setattr("tempfile.gettempdir", lambda: short)
        server = EmbeddedServer(tmp_path / ("long" * 30))
        server.socket.parent.mkdir(mode=0o700)
        monkeypatch.setattr("os.getuid", lambda: os.geteuid() + 1)
        with pytest.raises(ServerFailed, match="not a private folder"):
            server.start(tmp_path / "log")
