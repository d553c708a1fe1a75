"""Progress of a scan on stderr: bars on a terminal, a plain line every few seconds in a log."""

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
    """Shows the progress of one scan while its `with` block runs."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def show(self, progress: Progress) -> None: ...


def progress_display() -> ProgressDisplay:
    """Bars if stderr is a terminal, else lines."""
    console = Console(file=sys.stderr, markup=False, highlight=False)
    return ProgressBars(console) if console.is_terminal else ProgressLines()


class ProgressBars:
    """One bar for each stage. The bars of finished stages stay."""

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
            self._end_stage(complete=progress.stage not in (ScanStatus.failed, ScanStatus.cancelled))
            if not progress.stage.final:
                self._tasks[progress.stage] = self._bars.add_task(progress.stage, total=None, figures="")
        if progress.stage in self._tasks:
            task = self._tasks[progress.stage]
            self._bars.update(task, total=progress.total, completed=progress.done, figures=figures(progress))

    def _end_stage(self, *, complete: bool) -> None:
        """Replaces the figures of the newest stage, with speed and ETA, by its final ones."""
        for number in list(self._tasks.values())[-1:]:
            task = self._bars.tasks[number]
            done = task.total if complete and task.total else task.completed
            final = f"{done:.0f}/{task.total:.0f}" if task.total else ""
            total = task.total or (1 if complete else None)
            self._bars.update(number, total=total, completed=total if complete else done, figures=final)


class ProgressLines:
    """A line for every new stage, and one every few seconds."""

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
    """`done/total`, tokens per second, ETA; those that are known."""
    parts = []
    if progress.total:
        parts.append(f"{progress.done}/{progress.total}")
    elif progress.done:
        parts.append(str(progress.done))
    if progress.tokens_per_second is not None:
        parts.append(f"{progress.tokens_per_second:.0f} tokens/s")
    if progress.eta_seconds is not None and not progress.stage.final:
        parts.append(f"ETA {duration(progress.eta_seconds)}")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` for an hour and more."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
