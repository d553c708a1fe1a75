"""Progress of a scan on stderr: bars on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from tokenforce.wire.scans import Progress, ScanStatus

SECONDS_BETWEEN_LINES = 5.0


class ProgressDisplay(Protocol):
    """Shows one scan's progress while it is entered."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def show(self, progress: Progress) -> None: ...


def progress_display() -> ProgressDisplay:
    """Bars when stderr is a terminal, else lines."""
    console = Console(file=sys.stderr, markup=False, highlight=False)
    return ProgressBars(console) if console.is_terminal else ProgressLines()


class ProgressBars:
    """One bar for each stage; those of stages that are over stay in sight."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description:<11}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=console,
        )
        self._tasks: dict[ScanStatus, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bars.stop()

    def show(self, progress: Progress) -> None:
        if progress.stage not in self._tasks:
            self._finish_stages()
            if not progress.stage.final:
                self._tasks[progress.stage] = self._bars.add_task(progress.stage, total=None, figures="")
        if progress.stage in self._tasks:
            task = self._tasks[progress.stage]
            self._bars.update(task, total=progress.total, completed=progress.done, figures=figures(progress))

    def _finish_stages(self) -> None:
        for task in self._tasks.values():
            total = self._bars.tasks[task].total or 1
            self._bars.update(task, total=total, completed=total)


class ProgressLines:
    """A line when the stage changes, and one every few seconds in between."""

    def __init__(self) -> None:
        self._stage: ScanStatus | None = None
        self._printed_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage is self._stage and now - self._printed_at < SECONDS_BETWEEN_LINES:
            return
        self._stage, self._printed_at = progress.stage, now
        sys.stderr.write(f"{progress.stage} {figures(progress)}".rstrip() + "\n")
        sys.stderr.flush()


def figures(progress: Progress) -> str:
    """`done/total, tokens/s, ETA`, as far as they are known."""
    parts = []
    if progress.total is not None:
        parts.append(f"{progress.done}/{progress.total}")
    elif progress.done:
        parts.append(str(progress.done))
    if progress.tokens_per_second is not None:
        parts.append(f"{progress.tokens_per_second:.0f} tokens/s")
    if progress.eta_seconds is not None and not progress.stage.final:
        parts.append(f"ETA {duration(progress.eta_seconds)}")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` from an hour on."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
