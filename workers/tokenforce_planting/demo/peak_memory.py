"""The peak memory of this process and all its descendants, in other sessions too."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil


class MemoryWatch:
    """A context manager that samples this process and all its descendants in a thread.

    It follows each process that it has seen until that process ends, even if the parent ends first.
    """

    def __init__(self, interval: float = 0.5) -> None:
        self._interval = interval
        self._peak = 0
        self._seen: set[psutil.Process] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-watch", daemon=True)

    @property
    def peak_bytes(self) -> int:
        """The largest sum so far, in bytes."""
        return self._peak

    def sample(self) -> int:
        """Bytes that all processes use now. Shared pages count once where the system reports them."""
        own = psutil.Process()
        self._seen |= {own, *own.children(recursive=True)}
        total = 0
        for process in list(self._seen):
            used = _bytes_of(process)
            if used is None:
                self._seen.discard(process)
            else:
                total += used
        self._peak = max(self._peak, total)
        return total

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self.sample()

    def __enter__(self) -> Self:
        self.sample()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()


def _bytes_of(process: psutil.Process) -> int | None:
    """The proportional set size, else the resident set size; None if the process has ended."""
    try:
        if not process.is_running():
            return None
        try:
            return int(process.memory_full_info().pss)
        except (psutil.AccessDenied, AttributeError):
            return int(process.memory_info().rss)
    except psutil.Error:
        return None
