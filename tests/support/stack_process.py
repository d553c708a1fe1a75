"""The real processes, started for a test and stopped after it: a server, a gateway, or the whole stack."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from redis import Redis

from tests.support.keys import bearer
from tokenforce_service.local.valkey import EmbeddedServer


@contextmanager
def valkey(folder: Path) -> Iterator[EmbeddedServer]:
    """A real Valkey with append-only file on a private socket."""
    server = EmbeddedServer(folder / "valkey")
    server.start(folder / "valkey.log")
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def process(
    module: str, log_path: Path, environment: Mapping[str, str], *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m module` with its output in a log file."""
    with log_path.open("ab") as log_file:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextmanager
def gateway(folder: Path, redis_url: str, root: Path, **settings: str) -> Iterator[httpx.Client]:
    """A gateway process on a free port; yields an HTTP client for it, which carries an admin's key."""
    port = free_port()
    with Redis.from_url(redis_url) as connection:
        key = bearer(connection)
    environment = {
        "REDIS_URL": redis_url,
        "TOKENFORCE_PORT": str(port),
        "TOKENFORCE_MODEL_ROOTS": json.dumps([str(root)]),
        "HF_HUB_OFFLINE": "0",  # the engine of other tests turns the hub off in this process
        **settings,
    }
    log_path = folder / "gateway.log"
    with (
        process("tokenforce_service.gateway", log_path, environment) as child,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, headers=key) as client,
    ):
        wait_until(lambda: _answers(client, child), 60, lambda: log_path.read_text()[-3000:])
        yield client


def _answers(client: httpx.Client, child: subprocess.Popen[bytes]) -> bool:
    assert child.poll() is None, "the gateway ended at once"
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def wait_until(condition: object, seconds: float = 30, explain: object = lambda: "") -> None:
    """Poll a callable until it is true; fail with an explanation after `seconds`."""
    assert callable(condition)
    assert callable(explain)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s. {explain()}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class RunningStack:
    """A whole stack: its process, where it answers, where its logs are."""

    child: subprocess.Popen[str]
    url: str
    home: Path
    key: str

    @property
    def bearer(self) -> dict[str, str]:
        """The header that carries the stack's key."""
        return {"Authorization": f"Bearer {self.key}"}

    @property
    def redis_url(self) -> str:
        """Of the stack's own Valkey."""
        return EmbeddedServer(self.home / "valkey").url

    def log(self, part: str) -> str:
        return (self.home / "logs" / f"{part}.log").read_text()

    def processes(self) -> list[psutil.Process]:
        """Everything below the stack's own process."""
        return psutil.Process(self.child.pid).children(recursive=True)


@contextmanager
def whole_stack(home: Path, root: Path, **settings: str) -> Iterator[RunningStack]:
    """The stack as `tokenforce up` starts it: server, gateway, aggregator, deliverer, worker."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tokenforce_service.local.stack", "--root", str(root), "--until-stdin-closes"],
        env={**os.environ, "TOKENFORCE_HOME": str(home), **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        line = child.stdout.readline()
        assert line, "the stack did not start"
        address = json.loads(line)
        yield RunningStack(child, address["url"], home, Path(address["key_file"]).read_text().strip())
    finally:
        if not child.stdin.closed:
            child.stdin.close()
        child.wait(40)
        child.stdout.close()


def run_cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, up to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tokenforce", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
