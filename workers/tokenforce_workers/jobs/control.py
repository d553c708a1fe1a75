"""Runs between two engine steps: reports progress, and stops on cancel, shutdown or deadline.

No signal interrupts the engine: SIGALRM inside a step would leave requests in it that never end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tokenforce.wire.scans import ScanStatus
from tokenforce_workers.engine.engine_cache import EngineCache

T = TypeVar("T")
LOOK_SECONDS = 0.5
OUTAGE_SECONDS = 60.0


class Cancelled(Exception):
    """The scan was cancelled; the shard's work is dropped."""


class Stopping(Exception):
    """The worker has been asked to stop; another one takes the shard."""


class DeadlineExceeded(Exception):
    """The shard ran longer than `shard_deadline_seconds`."""


def through_outages(call: Callable[[], T]) -> T:
    """Call it again for up to `OUTAGE_SECONDS` while Redis cannot be reached, so that finished work is kept.

    Raises:
        RedisError: Redis refuses, or could not be reached in that time.
    """
    deadline = time.monotonic() + OUTAGE_SECONDS
    while True:
        try:
            return call()
        except (RedisConnectionError, RedisTimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


class Control:
    """A `BetweenSteps` callable for one job.

    Args:
        state: the worker; its `last_step` time shows the heartbeat that the engine is alive.
        part: name of the part of work under which progress is stored.
        counts: gives (entries done, forward tokens) so far.

    Raises (when called):
        Cancelled, Stopping, DeadlineExceeded
    """

    def __init__(self, state: EngineCache, scan_id: str, part: str, counts: Callable[[], tuple[int, int]]) -> None:
        self._state = state
        self._scan_id = scan_id
        self._part = part
        self._counts = counts
        self._started = time.monotonic()
        self._looked = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        self._state.last_step = now
        if self._state.stopping.is_set():
            raise Stopping("the worker is shutting down")
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        deadline = self._state.settings.shard_deadline_seconds
        if now - self._started > deadline:
            raise DeadlineExceeded(f"shard {self._part} ran longer than {deadline:.0f} s")
        try:
            self._state.store.work.note_progress(self._scan_id, self._part, *self._counts())
            status = self._state.store.status(self._scan_id)
        except RedisError:
            return  # a short outage costs a progress report, not a shard; the commit will insist
        if status in (ScanStatus.cancelled, ScanStatus.failed, None):
            raise Cancelled(self._scan_id)
