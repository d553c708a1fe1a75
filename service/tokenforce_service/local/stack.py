"""`python -m tokenforce_service.local.stack`: run the whole stack on this machine until a signal stops it.

Starts the embedded server (unless REDIS_URL is set), the gateway, the aggregator, the deliverer, and one worker per GPU
or one CPU worker, and creates a key for itself (key.py). When it is ready it prints one JSON line on stdout, which the
CLI reads. There is one stack per home folder: a second one prints the line of the first and ends, or waits if the first
is ephemeral, because that one ends with the scan for which it was started.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from filelock import FileLock, Timeout
from redis.exceptions import RedisError

from tokenforce.home import home
from tokenforce_core.runtime.child_process import start
from tokenforce_core.runtime.gpus import gpus
from tokenforce_service.local.key import ensure_local_key
from tokenforce_service.local.valkey import EmbeddedServer, ServerFailed

READY_SECONDS = 60.0
STOP_SECONDS = 30.0
"""More than the supervisor of the workers takes to end a worker (20 s), less than the CLI waits for the stack."""
OTHER_SECONDS = 120.0
"""A stack that starts or stops holds the lock, without a `stack.json`, for less than this."""
LOOK_SECONDS = 0.2
"""Pause between two attempts to get the lock."""


class Stack:
    """The processes of one local stack. `stop` ends them with all that they started, the server last."""

    def __init__(self, folder: Path, roots: list[Path], port: int) -> None:
        self._folder = folder
        self._logs = folder / "logs"
        self._key_file = folder / "key"
        self._roots = roots
        self._port = port or _free_port()
        self._server: EmbeddedServer | None = None
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.url = f"http://127.0.0.1:{self._port}"

    def line(self) -> dict[str, Any]:
        """The line that the CLI reads."""
        return {
            "url": self.url,
            "pid": os.getpid(),
            "reused": False,
            "home": str(self._folder),
            "logs": str(self._logs),
            "key_file": str(self._key_file),
        }

    def start(self) -> None:
        """Start everything and wait until the gateway is ready.

        Raises:
            ServerFailed: a part did not start; the message names its log.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "TOKENFORCE_MODEL_ROOTS": json.dumps([str(root) for root in self._roots]),
            "TOKENFORCE_HOST": "127.0.0.1",
            "TOKENFORCE_PORT": str(self._port),
        }
        if not environment.get("TOKENFORCE_LOG_FORMAT"):
            environment["TOKENFORCE_LOG_FORMAT"] = "text"  # people read these logs
        if not environment.get("TOKENFORCE_CACHE_DIR"):
            environment["TOKENFORCE_CACHE_DIR"] = str(self._folder / "hub")
        if not environment.get("REDIS_URL"):
            self._server = EmbeddedServer(self._folder / "valkey")
            self._server.start(self._logs / "valkey.log")
            environment["REDIS_URL"] = self._server.url
        self._run("gateway", [sys.executable, "-m", "tokenforce_service.gateway"], environment)
        self._run("aggregator", [sys.executable, "-m", "tokenforce_service.aggregator"], environment)
        self._run("deliverer", [sys.executable, "-m", "tokenforce_service.deliverer"], environment)
        for number, visible in enumerate(gpus() or [None]):
            own = environment if visible is None else {**environment, "CUDA_VISIBLE_DEVICES": visible}
            self._run(f"worker-{number}", [sys.executable, "-m", "tokenforce_workers"], own)
        self._wait_ready()
        self._make_key(environment["REDIS_URL"])

    def _make_key(self, redis_url: str) -> None:
        try:
            ensure_local_key(self._key_file, redis_url)
        except (RedisError, OSError) as error:
            raise ServerFailed(f"cannot create a key for this stack: {error}") from error

    def _run(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        with self.log_of(name).open("ab") as log_file:
            self._processes[name] = start(
                command, environment=environment, log_file=log_file, on_parent_death=signal.SIGTERM
            )

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if (dead := self.dead()) is not None:
                raise ServerFailed(f"the {dead} ended while it started; see {self.log_of(dead)}")
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                pass  # it is still starting, until the deadline
            time.sleep(0.1)
        raise ServerFailed(f"the gateway was not ready after {READY_SECONDS:.0f} s; see {self._logs}")

    def log_of(self, part: str) -> Path:
        return self._logs / f"{part}.log"

    def dead(self) -> str | None:
        """The name of a part that has ended, if there is one. The supervisor of a worker ends when it gives up."""
        if self._server is not None and not self._server.running:
            return "valkey"
        return next((name for name, process in self._processes.items() if process.poll() is not None), None)

    def stop(self) -> None:
        running = list(self._processes.items())
        for _, process in running:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for _, process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _kill_tree(process)
        if self._server is not None:
            self._server.stop()


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill its process group, and the workers and RQ children below it, which have groups of their own."""
    try:
        below = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        below = []  # it has just ended
    os.killpg(process.pid, signal.SIGKILL)
    for child in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("tokenforce_service.local.stack", description="Run the whole stack here.")
    add = parser.add_argument
    add("--root", type=Path, action="append", default=[], help="folder whose models may be scanned; repeat for more")
    add("--port", type=int, default=0, help="port of the gateway (default: a free one)")
    add("--until-stdin-closes", action="store_true", help="stop when the parent process ends")
    add("--ephemeral", action="store_true", help="run for one scan; other scans wait and do not share this stack")
    options = parser.parse_args(arguments)
    folder = home().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if options.until_stdin_closes:
        threading.Thread(target=_stop_at_end_of, args=(sys.stdin.fileno(), stop), daemon=True).start()
    lock = FileLock(folder / "stack.lock")
    state = folder / "stack.json"
    try:
        running = _lock_or_line(lock, state, stop)
        if running is not None:
            print(json.dumps({**running, "reused": True}), flush=True)
            return 0
        return _run(Stack(folder, [root.resolve() for root in options.root], options.port), state, stop, options)
    except ServerFailed as error:
        print(str(error), file=sys.stderr, flush=True)
        return 1
    finally:
        lock.release()


def _run(stack: Stack, state: Path, stop: threading.Event, options: argparse.Namespace) -> int:
    """Start the stack and watch it. Returns the exit status."""
    if stop.is_set():
        return 0  # possibly without the lock
    try:
        state.unlink(missing_ok=True)
        stack.start()
        line = json.dumps({**stack.line(), "ephemeral": options.ephemeral})
        state.write_text(line)
        print(line, flush=True)
        while not stop.wait(0.5):
            if (dead := stack.dead()) is not None:
                raise ServerFailed(f"the {dead} ended unexpectedly; see {stack.log_of(dead)}")
        return 0
    finally:
        state.unlink(missing_ok=True)
        stack.stop()


def _stop_at_end_of(descriptor: int, stop: threading.Event) -> None:
    """Set `stop` at the end of the input. Not by `sys.stdin`: Python aborts at exit if a thread holds its lock."""
    while os.read(descriptor, 4096):
        pass
    stop.set()


def _lock_or_line(lock: FileLock, state: Path, stop: threading.Event) -> dict[str, Any] | None:
    """The line of a running stack to share; None when this process has the lock, or when `stop` is set.

    Raises:
        ServerFailed: another stack does not become ready and does not end.
    """
    deadline = time.monotonic() + OTHER_SECONDS
    announced = False
    while not stop.is_set():
        try:
            lock.acquire(timeout=0)
            return None
        except Timeout:
            line = _read(state)
        if line is not None and not line.get("ephemeral"):
            return line
        if line is not None:
            deadline = time.monotonic() + OTHER_SECONDS
            if not announced:
                print("another scan is running on this machine; waiting until it ends", file=sys.stderr, flush=True)
            announced = True
        elif time.monotonic() > deadline:
            raise ServerFailed(f"another stack uses {state.parent} but is not ready; stop it or set TOKENFORCE_HOME")
        stop.wait(LOOK_SECONDS)
    return None


def _read(state: Path) -> dict[str, Any] | None:
    """The line of the running stack; None while it starts or stops."""
    try:
        line = json.loads(state.read_text())
    except (OSError, ValueError):
        return None
    return line if isinstance(line, dict) else None


if __name__ == "__main__":
    sys.exit(main())
