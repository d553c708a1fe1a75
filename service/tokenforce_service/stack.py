"""`python -m tokenforce_service.stack`: the whole stack on this machine, until told to stop.

Starts the embedded server (unless REDIS_URL is set), the gateway, the aggregator and one worker per
GPU, or one CPU worker. When it is ready it prints one JSON line on stdout; the CLI reads it. One stack
per home folder: a second one prints the line of the first and ends.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

import httpx
from filelock import FileLock, Timeout

from tokenforce_core.processes import start
from tokenforce_service.embedded_server import EmbeddedServer, ServerFailed

READY_SECONDS = 60.0
STOP_SECONDS = 15.0


def home() -> Path:
    return Path(os.environ.get("TOKENFORCE_HOME") or Path.home() / ".tokenforce")


class Stack:
    """The processes of one local stack. `stop` ends them in the reverse order of their start."""

    def __init__(self, folder: Path, roots: list[Path], port: int) -> None:
        self._folder = folder
        self._logs = folder / "logs"
        self._roots = roots
        self._port = port or _free_port()
        self._server: EmbeddedServer | None = None
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.url = f"http://127.0.0.1:{self._port}"

    def line(self, *, reused: bool = False) -> dict[str, Any]:
        """What the CLI needs to know."""
        return {
            "url": self.url,
            "pid": os.getpid(),
            "reused": reused,
            "home": str(self._folder),
            "logs": str(self._logs),
            "roots": [str(root) for root in self._roots],
        }

    def start(self) -> None:
        """Start everything and wait until the gateway is ready.

        Raises:
            ServerFailed: a part did not come up; its log is named.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "TOKENFORCE_MODEL_ROOTS": json.dumps([str(root) for root in self._roots]),
            "TOKENFORCE_HOST": "127.0.0.1",
            "TOKENFORCE_PORT": str(self._port),
        }
        if not environment.get("REDIS_URL"):
            self._server = EmbeddedServer(self._folder / "valkey")
            self._server.start(self._logs / "valkey.log")
            environment["REDIS_URL"] = self._server.url
        self._run("gateway", [sys.executable, "-m", "tokenforce_service.gateway"], environment)
        self._run("aggregator", [sys.executable, "-m", "tokenforce_service.aggregator"], environment)
        for number, visible in enumerate(_gpus() or [None]):
            own = environment if visible is None else {**environment, "CUDA_VISIBLE_DEVICES": visible}
            self._run(f"worker-{number}", [sys.executable, "-m", "tokenforce_workers"], own)
        self._wait_ready()

    def _run(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        with (self._logs / f"{name}.log").open("ab") as log_file:
            self._processes[name] = start(
                command, environment=environment, log_file=log_file, on_parent_death=signal.SIGTERM
            )

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if (dead := self.dead()) is not None:
                raise ServerFailed(f"the {dead} ended at once; see {self._logs / (dead + '.log')}")
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                pass  # it is still starting; the deadline decides
            time.sleep(0.1)
        raise ServerFailed(f"the gateway was not ready after {READY_SECONDS:.0f} s; see {self._logs}")

    def dead(self) -> str | None:
        """The name of a part that has ended, if one has."""
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
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self._server is not None:
            self._server.stop()


def _gpus() -> list[str]:
    """Indices of the GPUs that a worker each should get."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [index for index in chosen.split(",") if index.strip()]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []  # no driver: a CPU machine
    return [str(number) for number, _ in enumerate(listed.stdout.strip().splitlines())]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tokenforce_service.stack", description="Run the whole stack here.")
    parser.add_argument("--root", type=Path, action="append", default=[], help="folder under which models lie")
    parser.add_argument("--port", type=int, default=0, help="gateway port (default: any free one)")
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop when the starter goes away")
    options = parser.parse_args(arguments)
    folder = home().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "stack.lock")
    state = folder / "stack.json"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _reuse(state)
    stack = Stack(folder, [root.resolve() for root in options.root], options.port)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if options.until_stdin_closes:
        threading.Thread(target=_stop_at_end_of, args=(sys.stdin.buffer, stop), daemon=True).start()
    try:
        state.unlink(missing_ok=True)
        stack.start()
        line = json.dumps(stack.line())
        state.write_text(line)
        print(line, flush=True)
        while not stop.wait(0.5):
            if (dead := stack.dead()) is not None:
                print(f"the {dead} ended unexpectedly; see {folder / 'logs'}", file=sys.stderr, flush=True)
                return 1
    except ServerFailed as error:
        print(str(error), file=sys.stderr, flush=True)
        return 1
    finally:
        state.unlink(missing_ok=True)
        stack.stop()
        lock.release()
    return 0


def _stop_at_end_of(stream: BinaryIO, stop: threading.Event) -> None:
    stream.read()
    stop.set()


def _reuse(state: Path) -> int:
    """Print the line of the stack that runs already; it may still be starting."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            print(json.dumps({**json.loads(state.read_text()), "reused": True}), flush=True)
            return 0
        except (OSError, ValueError):
            time.sleep(0.2)
    print(f"another stack holds {state.parent} but is not ready; stop it or set TOKENFORCE_HOME", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
