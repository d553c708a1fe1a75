"""A deadline and a limit of memory for Python code of an upload's making, such as a chat template without end."""

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
"""Linux's clock of this process's user and system time in ticks (`CPUCLOCK_PROF`, linux/posix-timers.h).

It is what RLIMIT_CPU is held against. `time.process_time` is counted otherwise: on a busy virtual machine the two were
seen 0.6 s apart after 5 s, so that a limit set by it was over before the block began.
"""
CPU_FACTOR = 2
"""The processor time that the block gets, as a multiple of its time: only code that nothing interrupts needs it."""


MEMORY_BYTES = 4 << 30
"""What the block may take more than the process has. A tokenizer.json of 262k entries, some 33 MiB, takes a fraction
of it."""


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """Interrupt the block after `seconds`, by SIGALRM: main thread only, which jobs of the planner are.

    An alarm that was set before (RQ's own job timeout) goes on afterwards. Code that is not Python, such as
    the tokenizer's, is not interrupted; the kernel ends the whole process (SIGXCPU) if it computes for ever. It also
    ends the process (SIGABRT) when there is no memory left for it.

    Raises:
        Refusal: `model_invalid`, when the time is up or more than `MEMORY_BYTES` are taken.
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
    """Bytes of this process's own writable memory, which Linux holds RLIMIT_DATA against.

    Not RLIMIT_AS: address space is also what allocators only reserve, for each thread and so for each core.
    """
    return int(getattr(psutil.Process().memory_info(), "data", 0))  # 0: not Linux, where the limit has no such effect


def _lower(kind: int, wanted: int, present: tuple[int, int]) -> None:
    """Lower the soft limit; the hard one could not be raised again."""
    soft = min([wanted, *(limit for limit in present if limit != resource.RLIM_INFINITY)])
    resource.setrlimit(kind, (soft, present[1]))
