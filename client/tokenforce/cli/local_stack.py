"""The whole stack on this machine, as a child process that lives as long as we hold its stdin."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import IO, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tokenforce.sdk.errors import TokenforceError

MODULE = "tokenforce_service.local.stack"
NEEDED = ("fastapi", "rq", "vllm")
"""One module of each extra: the wheel holds our own packages whatever extras were asked for."""
WAITING = "another scan is running"
"""How the stack's line begins while it waits for the end of another one."""
SECONDS_TO_START = 600.0
SECONDS_TO_STOP = 45.0
SECONDS_TO_DIE = 5.0
SECONDS_TO_GO = 2.0


class StackFailed(TokenforceError):
    """The local stack could not start, or stopped on its own."""


class StackAddress(BaseModel):
    """The one line that the stack prints when it is ready."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    url: str
    pid: int
    reused: bool = False
    """Another stack of this user was running already: it answers, and it is not ours to stop."""
    home: str
    logs: str
    key_file: str
    """Holds the stack's key; readable by its user only, so that neither this line nor any log has to."""

    def key(self) -> str:
        """The API key of the stack.

        Raises:
            StackFailed: its file is gone or is somebody else's.
        """
        try:
            return Path(self.key_file).read_text("utf-8").strip()
        except OSError as error:
            raise StackFailed(f"the key of the local stack cannot be read: {error}") from error


class LocalStack:
    """Starts the stack when entered and stops it when left. Raises `StackFailed`."""

    def __init__(self, roots: Sequence[str] = (), port: int | None = None, *, ephemeral: bool = False) -> None:
        self._roots = roots
        self._port = port
        self._ephemeral = ephemeral
        self._waiting = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._first_line: SimpleQueue[str] = SimpleQueue()
        self._complaints: deque[str] = deque(maxlen=20)
        self._readers: list[threading.Thread] = []
        self.address: StackAddress | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start(self) -> StackAddress:
        """Start the stack and wait until it is ready."""
        if any(importlib.util.find_spec(module) is None for module in NEEDED):
            raise StackFailed(
                "the local stack is not installed: run `make setup` in a checkout "
                "(with a GPU: pip install '.[service,workers]' there), "
                "or point TOKENFORCE_URL (--url) at a service"
            )
        self._process = subprocess.Popen(
            self.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=safe_environment(),
            # Ctrl-C in the terminal must reach us only: we cancel the scan first, then stop the stack.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._read(self._process.stdout, self._hear_stdout)
        self._read(self._process.stderr, self._hear_stderr)
        self.address = self._wait_until_ready()
        return self.address

    def command(self) -> list[str]:
        command = [sys.executable, "-m", MODULE, "--until-stdin-closes"]
        if self._ephemeral:  # it goes with this command, so nobody else may count on it
            command.append("--ephemeral")
        for root in self._roots:
            command += ["--root", root]
        return command + (["--port", str(self._port)] if self._port is not None else [])

    def wait(self) -> int:
        """Wait until the stack stops on its own; its exit status."""
        assert self._process is not None
        return self._process.wait()

    def died(self) -> bool:
        """Whether the stack that we started is gone, or is just going."""
        if self._process is None or self.address is None or self.address.reused:
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(SECONDS_TO_GO)
        return self._process.poll() is not None

    def failure(self) -> StackFailed:
        """Why the stack is gone, and where its logs are."""
        self.stop()
        reason = self._complaints[-1] if self._complaints else "it does not say why"
        if self.address is None:
            return StackFailed(f"the local stack did not start: {reason}")
        return StackFailed(f"the local stack stopped: {reason}; logs in {self.address.logs}")

    def stop(self) -> None:
        """Close its stdin, so that it stops in order; less kindly when it does not."""
        process = self._process
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(SECONDS_TO_DIE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for reader in self._readers:
            reader.join(timeout=1.0)

    def _wait_until_ready(self) -> StackAddress:
        deadline = time.monotonic() + SECONDS_TO_START
        while True:
            try:
                line = self._first_line.get(timeout=1.0)
                break
            except Empty:
                if self._waiting.is_set():  # for another scan, which takes as long as it takes
                    deadline = time.monotonic() + SECONDS_TO_START
                elif time.monotonic() > deadline:
                    raise StackFailed(f"the local stack is not ready after {SECONDS_TO_START:.0f} s") from None
        if not line:
            raise self.failure()
        try:
            return StackAddress.model_validate_json(line)
        except ValidationError as error:
            raise StackFailed(f"the local stack is of another version: it printed {line!r}") from error

    def _read(self, stream: IO[str], hear: Callable[[IO[str]], None]) -> None:
        reader = threading.Thread(target=hear, args=(stream,), daemon=True)
        reader.start()
        self._readers.append(reader)

    def _hear_stdout(self, stream: IO[str]) -> None:
        with stream:
            self._first_line.put(stream.readline())
            for _ in stream:  # nothing more is expected; read on, so that the stack never blocks on us
                pass

    def _hear_stderr(self, stream: IO[str]) -> None:
        with stream:
            for line in filter(None, map(str.strip, stream)):
                self._complaints.append(line)
                if line.startswith(WAITING):
                    self._waiting.set()
                    sys.stderr.write(f"{line}\n")


def safe_environment() -> dict[str, str]:
    """Ours, made safe for a child: the folder we run in may be the hostile upload, so nothing is imported from it.

    An empty or relative entry of PYTHONPATH means that folder too.
    """
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(entry)]
    if entries:
        environment["PYTHONPATH"] = os.pathsep.join(entries)
    else:
        environment.pop("PYTHONPATH", None)
    return environment
