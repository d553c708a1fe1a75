"""The local stack: the whole service as a child process that ends when we close its stdin."""

from __future__ import annotations

import contextlib
import importlib.util
import json
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

from tokenforce.home import home
from tokenforce.sdk.errors import TokenforceError
from tokenforce.wire.scans import ScanRequest

MODULE = "tokenforce_service.local.stack"
NEEDED = ("fastapi", "rq", "vllm")
"""One module of each extra. Our own packages prove nothing: every wheel holds them, whatever extras were installed."""
WAITING = "another scan is running"
"""The line that the stack prints while it waits for another one begins so."""
SECONDS_TO_START = 600.0
SECONDS_TO_STOP = 45.0
"""From closing its stdin to SIGTERM."""
SECONDS_TO_DIE = 5.0
"""From SIGTERM to SIGKILL."""
SECONDS_TO_GO = 2.0
"""A stack whose service does not answer may need so long to end."""
ADAPTER_CONFIG = "adapter_config.json"
LARGEST_CONFIG_BYTES = 1 << 20


class StackFailed(TokenforceError):
    """The local stack could not start, or stopped by itself."""


class StackAddress(BaseModel):
    """The one line that the stack prints when it is ready."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    url: str
    pid: int
    reused: bool = False
    """Another command of this user has started this stack: we use it and never stop it."""
    home: str
    logs: str
    key_file: str
    """File with the stack's key. Only this user can read it, so the key appears in no line and no log."""

    def key(self) -> str:
        """The API key of the stack.

        Raises:
            StackFailed: its file is missing or cannot be read.
        """
        try:
            return Path(self.key_file).read_text("utf-8").strip()
        except OSError as error:
            raise StackFailed(f"the key of the local stack cannot be read: {error}") from error


def running_stack() -> StackAddress | None:
    """The address of this user's running stack, from the file that it wrote; None if there is none.

    Asks nothing over the network, so the stack may have crashed since.
    """
    try:
        return StackAddress.model_validate_json((home() / "stack.json").read_bytes())
    except (OSError, ValidationError):
        return None


class LocalStack:
    """A stack that runs as long as a `with` block. Raises `StackFailed`.

    Args:
        roots: folders whose models the service may scan.
        port: port of the service; None for a free one.
        ephemeral: the stack runs for one command only, so no other command may use it.
    """

    def __init__(self, roots: Sequence[str] = (), port: int | None = None, *, ephemeral: bool = False) -> None:
        self._roots = roots
        self._port = port
        self._ephemeral = ephemeral
        self._waiting = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._first_line: SimpleQueue[str] = SimpleQueue()
        self._errors: deque[str] = deque(maxlen=20)
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
                "or set TOKENFORCE_URL (--url) to the address of a service"
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
            # Ctrl-C in the terminal must reach only us: we cancel the scan first, then stop the stack.
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
        if self._ephemeral:
            command.append("--ephemeral")
        for root in self._roots:
            command += ["--root", root]
        return command + (["--port", str(self._port)] if self._port is not None else [])

    def wait(self) -> int:
        """Wait until the stack stops by itself. Returns its exit status."""
        assert self._process is not None
        return self._process.wait()

    def died(self) -> bool:
        """Whether the stack that we started has ended, or is just ending."""
        if self._process is None or self.address is None or self.address.reused:
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(SECONDS_TO_GO)
        return self._process.poll() is not None

    def failure(self) -> StackFailed:
        """Why the stack ended, and where its logs are."""
        self.stop()
        reason = self._errors[-1] if self._errors else "it gave no reason"
        if self.address is None:
            return StackFailed(f"the local stack did not start: {reason}")
        return StackFailed(f"the local stack stopped: {reason}; logs in {self.address.logs}")

    def stop(self) -> None:
        """Closes its stdin, so that it stops in order. If it does not, ends it by signals."""
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
                if self._waiting.is_set():  # for another scan, which may take hours
                    deadline = time.monotonic() + SECONDS_TO_START
                elif time.monotonic() > deadline:
                    raise StackFailed(f"the local stack is not ready after {SECONDS_TO_START:.0f} s") from None
        if not line:
            raise self.failure()
        try:
            return StackAddress.model_validate_json(line)
        except ValidationError as error:
            raise StackFailed(f"the local stack has another version: it printed {line!r}") from error

    def _read(self, stream: IO[str], hear: Callable[[IO[str]], None]) -> None:
        reader = threading.Thread(target=hear, args=(stream,), daemon=True)
        reader.start()
        self._readers.append(reader)

    def _hear_stdout(self, stream: IO[str]) -> None:
        with stream:
            self._first_line.put(stream.readline())
            for _ in stream:  # nothing more should come; without reading, a full pipe would block the stack
                pass

    def _hear_stderr(self, stream: IO[str]) -> None:
        with stream:
            for line in filter(None, map(str.strip, stream)):
                self._errors.append(line)
                if line.startswith(WAITING):
                    self._waiting.set()
                    sys.stderr.write(f"{line}\n")


def safe_environment() -> dict[str, str]:
    """Our environment, made safe for a child process: it imports nothing from the current folder.

    That folder may be the hostile upload. An empty or relative entry of PYTHONPATH means that folder too.
    """
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(entry)]
    if entries:
        environment["PYTHONPATH"] = os.pathsep.join(entries)
    else:
        environment.pop("PYTHONPATH", None)
    return environment


# --- what a stack for one scan may read ---------------------------------------------------------------


def roots_of(request: ScanRequest) -> list[str]:
    """Absolute folders that the stack may read: those that the request names, and the base of a LoRA adapter.

    The first one is the model's. For a folder in a hub cache it is the folder of its repository, because the files in
    `models--org--name/snapshots/<commit>` are links to `../../blobs`.
    """
    roots = [_root_of(name) for name in (request.model, request.reference) if name and os.path.isabs(name)]
    if os.path.isabs(request.model) and request.reference in (None, "auto", "none"):
        base = _base_of(Path(request.model))
        roots += [_root_of(base)] if base is not None else []
    return list(dict.fromkeys(roots))


def _base_of(folder: Path) -> str | None:
    """The local base that an adapter's config names, if it is a model folder; else None.

    The adapter may be hostile. If it names `/`, its links must not reach the whole disk.
    """
    config = folder / ADAPTER_CONFIG
    try:
        if (folder / "config.json").exists() or not config.is_file() or config.stat().st_size > LARGEST_CONFIG_BYTES:
            return None
        named = json.loads(config.read_bytes())
        base = named.get("base_model_name_or_path") if isinstance(named, dict) else None
        if not isinstance(base, str) or not os.path.isabs(base):
            return None
        return base if holds_weights(Path(base)) else None
    except (OSError, ValueError, RecursionError):
        return None  # the service refuses this adapter, and says why


def holds_weights(folder: Path) -> bool:
    """Whether it is the folder of a model or of a LoRA adapter."""
    configured = any((folder / name).is_file() for name in ("config.json", ADAPTER_CONFIG))
    return configured and any(folder.glob("*.safetensors"))


def _root_of(folder: str) -> str:
    path = Path(folder)
    cached = path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--")
    return str(path.parent.parent) if cached else folder
