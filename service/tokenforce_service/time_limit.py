"""A deadline for Python code of an upload's making, such as a chat template with endless loops."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from tokenforce.types import ErrorCode
from tokenforce_service.refusals import Refusal


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """Interrupt the block after `seconds`, by SIGALRM: main thread only, which jobs of the planner are.

    An alarm that was set before (RQ's own job timeout) goes on afterwards.

    Raises:
        Refusal: `model_invalid`, when the time is up.
    """

    def interrupt(_: int, __: FrameType | None) -> NoReturn:
        raise Refusal(ErrorCode.model_invalid, f"{what} took longer than {seconds:.0f} s; simplify them.")

    started = time.monotonic()
    handler = signal.signal(signal.SIGALRM, interrupt)
    remaining, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if remaining:
            signal.setitimer(signal.ITIMER_REAL, max(0.01, remaining - (time.monotonic() - started)))
