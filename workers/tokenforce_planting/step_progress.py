"""Progress of long steps on stderr: a bar with an ETA on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

SECONDS_BETWEEN_LINES = 5.0
_MIN_FRACTION_FOR_ETA = 0.02


class StepProgress:
    """Shows one step at a time. `show` with a new name ends the step before it."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr, markup=False, highlight=False)
        self._bars = Progress(
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._step: str | None = None
        self._task = self._bars.add_task("", visible=False, figures="")
        self._started = self._printed = 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self._finish()
        self._bars.stop()

    def show(self, step: str, fraction: float | None, note: str = "") -> None:
        """Show that `fraction` (0 to 1) of `step` is done; None while that is unknown."""
        now = time.monotonic()
        new = step != self._step
        if new:
            self._finish()
            self._step, self._started = step, now
            self._task = self._bars.add_task(step, total=None, figures="")
        eta = eta_seconds(now - self._started, fraction)
        figures = "  ".join(part for part in (note, "" if eta is None else f"ETA {eta:.0f} s") if part)
        # a total of None makes rich move the bar to and fro
        total, done = (None, 0.0) if fraction is None else (1.0, fraction)
        self._bars.update(self._task, total=total, completed=done, figures=figures)
        if self._bars.disable and (new or now - self._printed >= SECONDS_BETWEEN_LINES):
            self._printed = now
            percent = "" if fraction is None else f"{fraction:4.0%}"
            self._console.print("  ".join(part for part in (step, percent, figures) if part), soft_wrap=True)

    def _finish(self) -> None:
        if self._step is not None:
            self._bars.update(self._task, total=1.0, completed=1.0, figures="done")
            if self._bars.disable:
                self._console.print(f"{self._step}  done in {time.monotonic() - self._started:.0f} s", soft_wrap=True)
            self._step = None


def eta_seconds(elapsed: float, fraction: float | None) -> float | None:
    """Seconds left at the present pace; None in the first 2 %, where an estimate means nothing."""
    if fraction is None or fraction < _MIN_FRACTION_FOR_ETA:
        return None
    return elapsed * (1.0 - fraction) / fraction
