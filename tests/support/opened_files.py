"""How often files are opened, as Linux counts it: also by libraries that do not open them through Python."""

from __future__ import annotations

import ctypes
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

IN_ACCESS, IN_CLOSE, IN_OPEN, IN_ISDIR = 0x1, 0x18, 0x20, 0x40000000
"""Equal events in a row become one, so reads and closes are watched too: they stand between two opens."""
_EVENT = struct.Struct("iIII")


class OpenedFiles:
    """Counts the opens of the files directly in some folders. `aside(call)` is `call`, whose opens do not count."""

    def __init__(self, folders: list[Path]) -> None:
        self.counts: Counter[Path] = Counter()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        watch = self._libc.inotify_add_watch
        mask = IN_ACCESS | IN_CLOSE | IN_OPEN
        self._folders = {watch(self._descriptor, os.fsencode(folder), mask): folder for folder in folders}
        assert self._descriptor >= 0
        assert min(self._folders) > 0

    def read(self) -> Counter[Path]:
        """The counts so far."""
        self.counts += self._drained()
        return self.counts

    def aside(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            self.read()
            try:
                return call(*args, **options)
            finally:
                self._drained()

        return called

    def close(self) -> None:
        os.close(self._descriptor)

    def _drained(self) -> Counter[Path]:
        found: Counter[Path] = Counter()
        while events := self._events():
            at = 0
            while at < len(events):
                watch, mask, _, length = _EVENT.unpack_from(events, at)
                at += _EVENT.size + length
                name = os.fsdecode(events[at - length : at].rstrip(b"\0"))
                if mask & IN_OPEN and not mask & IN_ISDIR:
                    found[self._folders[watch] / name] += 1
        return found

    def _events(self) -> bytes:
        try:
            return os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return b""


@contextmanager
def opened_files(*folders: Path) -> Iterator[OpenedFiles]:
    watched = OpenedFiles(list(folders))
    try:
        yield watched
    finally:
        watched.close()
