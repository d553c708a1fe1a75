"""Runs code of an upload, such as its chat template, with time and memory limits."""

from __future__ import annotations

import math
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import psutil

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.refusals import Refusal

_TICKS = -8
"""Linux's clock of the user and system time of this process in ticks (`CPUCLOCK_PROF`, linux/posix-timers.h).

RLIMIT_CPU counts this clock. `time.process_time` counts differently: on a busy virtual machine the two were 0.6 s apart
after 5 s, so a limit set by it was over before the block began.
"""
CPU_FACTOR = 2
"""Processor time of the block, as a multiple of its deadline. It ends code that the alarm cannot interrupt."""
MEMORY_BYTES = 4 << 30
"""Memory that the block may take on top of what the process has. A tokenizer.json with 262k entries, some 33 MiB,
takes a fraction of it."""


@contextmanager
def resource_limits(seconds: float, what: str) -> Iterator[None]:
    """Interrupt the block after `seconds`, by SIGALRM. Only in the main thread, in which jobs of the planner run.

    An alarm that was set before (RQ's own job timeout) goes on afterwards. The alarm does not interrupt code outside of
    Python, such as that of a tokenizer; if this runs on, the kernel ends the whole process (SIGXCPU), and so it does
    (SIGABRT) if this code runs out of memory.

    Args:
        what: the subject of the refusal.

    Raises:
        Refusal: `model_invalid` if the block takes longer, or more than `MEMORY_BYTES`.
    """

    def interrupt(_: int, __: FrameType | None) -> NoReturn:
        raise Refusal(ErrorCode.model_invalid, f"{what} took longer than {seconds:.0f} s; simplify them.")

    started = time.monotonic()
    processor_limits = resource.getrlimit(resource.RLIMIT_CPU)
    memory_limits = resource.getrlimit(resource.RLIMIT_DATA)
    _lower(resource.RLIMIT_DATA, _data() + MEMORY_BYTES, memory_limits)
    _lower(resource.RLIMIT_CPU, math.ceil(_processor_time() + CPU_FACTOR * seconds), processor_limits)
    handler = signal.signal(signal.SIGALRM, interrupt)
    remaining, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except MemoryError as error:
        raise Refusal(
            ErrorCode.model_invalid, f"{what} took more than {MEMORY_BYTES / 2**30:.0f} GiB of memory; simplify them."
        ) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_CPU, processor_limits)
        resource.setrlimit(resource.RLIMIT_DATA, memory_limits)
        if remaining:
            signal.setitimer(signal.ITIMER_REAL, max(0.01, remaining - (time.monotonic() - started)))


def _processor_time() -> float:
    try:
        return time.clock_gettime(_TICKS)
    except OSError:  # not Linux
        return time.process_time()


def _data() -> int:
    """Bytes of writable memory of this process, which RLIMIT_DATA limits on Linux.

    RLIMIT_AS would not do: it also counts what allocators only reserve, for each thread and so for each core.
    """
    return int(getattr(psutil.Process().memory_info(), "data", 0))  # 0: not Linux, where the limit has no such effect


def _lower(kind: int, wanted: int, present: tuple[int, int]) -> None:
    """Lower the soft limit; the hard one could not be raised again."""
    soft = min([wanted, *(limit for limit in present if limit != resource.RLIM_INFINITY)])
    resource.setrlimit(kind, (soft, present[1]))
