"""Peak memory of everything a program starts, however deep and in whatever session."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil


class MemoryWatch:
    """Samples this process and all its descendants in a thread while it is entered.

    A process that was seen once is followed until it ends, also when its parent dies before it.
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
        """Bytes in use now by all processes together; shared pages count once where the system can tell."""
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
    """Proportional set size, else resident set size; None when the process is gone."""
    try:
        if not process.is_running():
            return None
        try:
            return int(process.memory_full_info().pss)
        except (psutil.AccessDenied, AttributeError):
            return int(process.memory_info().rss)
    except psutil.Error:
        return None
