"""Keeps one worker process running and cleans up after it when it dies.

vLLM's multiprocess engine outlives a killed worker and holds its GPU memory. The worker therefore
runs in a session of its own, and whatever is left of its process group is killed before a new one
starts. This process stays small: it never imports torch or vllm.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time

from tokenforce_core.runtime import logs
from tokenforce_core.runtime.child_process import start
from tokenforce_workers.settings import WorkerSettings

log = logging.getLogger(__name__)

BACKOFF_SECONDS = (0.5, 1, 2, 5, 10, 30)
HEALTHY_SECONDS = 60.0
NEVER_READY = 70
"""Exit status of a worker that failed before it could take work; SIGILL (a CPU too old) means the same."""
STOP_SECONDS = 20.0
"""Less than the stack waits for this process, so that this process ends the worker's group."""
EARLY_DEATHS = 3
"""After so many deaths in a row before `HEALTHY_SECONDS`, starting it again will not help."""


def supervise(worker_command: list[str]) -> int:
    """Run the worker until SIGTERM or SIGINT; returns the exit status for this process."""
    stopping = threading.Event()
    child: subprocess.Popen[bytes] | None = None

    def stop(*_: object) -> None:
        stopping.set()
        if child is not None and child.poll() is None:
            child.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    failures = 0
    while not stopping.is_set():
        started = time.monotonic()
        child = start(worker_command)
        if stopping.is_set():  # the signal came between the test and the start
            child.terminate()
        status = _wait(child, stopping)
        _end_group(child.pid)
        if stopping.is_set():
            break
        failures = 1 if time.monotonic() - started > HEALTHY_SECONDS else failures + 1
        if status in (NEVER_READY, -signal.SIGILL) and failures >= EARLY_DEATHS:
            log.error("the worker could not start %d times in a row; the reason is above", failures)
            return 1
        pause = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1]
        log.error("the worker ended with status %s; starting another in %.1f s", status, pause)
        stopping.wait(pause)
    return 0


def _wait(child: subprocess.Popen[bytes], stopping: threading.Event) -> int:
    """Wait for the child; once stopping, for `STOP_SECONDS` at most."""
    deadline: float | None = None
    while True:
        try:
            return child.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            if stopping.is_set():
                deadline = deadline or time.monotonic() + STOP_SECONDS
                if time.monotonic() > deadline:
                    _end_group(child.pid)


def _end_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return  # nothing left of it


def main() -> int:
    logs.configure(WorkerSettings().log_format)
    return supervise([sys.executable, "-m", "tokenforce_workers.main"])
