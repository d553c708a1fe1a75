"""When to send a call again, and how to wait for a scan. Decides only: a transport sends and pauses."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

import httpx

from tokenforce.sdk import calls
from tokenforce.sdk.errors import ConnectionFailed, ScanCancelled, ScanFailed, WaitTimeout
from tokenforce.wire.scans import Progress, Scan, ScanStatus

T = TypeVar("T")

FIRST_PAUSE = 0.5
"""Seconds; doubled for each attempt, up to `LONGEST_PAUSE`."""
LONGEST_PAUSE = 8.0
"""Seconds."""
LONGEST_RETRY_AFTER = 60.0
"""Seconds. If the service asks for more, the call fails at once instead of waiting in silence."""
SHORTEST_POLL = 0.01
"""Seconds between two looks at a scan, at least."""
PATIENCE = 8
"""Attempts for each look at a scan: enough for a restart of the service."""
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
_ANSWER_LOST = frozenset({502, 504})
"""A proxy answers so when its upstream did not; the upstream may have carried out the request."""


class Attempts(Generic[T]):
    """How often one call is sent, with growing, jittered pauses, never past the deadline.

    Every call may be sent again: reads and deletions by their nature, others because of their idempotency key.
    """

    def __init__(self, call: calls.Call[T], deadline: float = math.inf) -> None:
        self._call = call
        self._deadline = deadline
        self._made = 0
        self._perhaps_done = False
        """The service may have carried out an attempt whose answer was lost."""

    def after_failure(self, error: httpx.RequestError, place: str) -> float:
        """Seconds to pause before the next attempt. Raises `ConnectionFailed` after the last one."""
        self._perhaps_done |= not isinstance(error, _NEVER_SENT)
        pause = self._next_pause(None)
        if pause is None or isinstance(error, httpx.UnsupportedProtocol):
            reason = str(error) or type(error).__name__
            raise ConnectionFailed(f"no answer from {place}: {reason}") from error
        return pause

    def after_answer(self, response: httpx.Response) -> float | None:
        """Seconds to pause before the next attempt; None when this answer is final."""
        self._perhaps_done |= response.status_code in _ANSWER_LOST
        # A 409 with `Retry-After`: the service still carries out the first attempt, whose answer was lost. Without an
        # idempotency key the 409 is about something that does not exist yet, such as a report: the caller waits.
        repeated = "Idempotency-Key" in self._call.headers
        being_done = repeated and response.status_code == httpx.codes.CONFLICT and "retry-after" in response.headers
        if response.status_code not in calls.TRANSIENT_STATUSES and not being_done:
            return None
        return self._next_pause(calls.retry_after(response))

    def read(self, response: httpx.Response) -> T:
        """Reads the final answer. A removal that finds nothing succeeded, if the answer to an earlier attempt was lost.

        429 and 503 are not lost answers: after them "not found" means that the id is wrong.
        """
        if response.status_code == httpx.codes.NOT_FOUND and self._perhaps_done and self._call.parse is calls.nothing:
            response = httpx.Response(httpx.codes.NO_CONTENT, request=response.request)
        return self._call.parse(response)

    def _next_pause(self, asked: float | None) -> float | None:
        self._made += 1
        if self._made >= self._call.attempts or (asked or 0.0) > LONGEST_RETRY_AFTER:
            return None
        grown = min(FIRST_PAUSE * 2 ** (self._made - 1), LONGEST_PAUSE) * random.uniform(0.5, 1.0)
        pause = max(asked or 0.0, grown)
        return pause if time.monotonic() + pause < self._deadline else None


class Looks:
    """Looks at one scan again and again. A look that finds nothing new costs a 304 without a body (RFC 9110, 13.1.2).

    Args:
        get: the call that reads the scan.
    """

    def __init__(self, get: calls.Call[Scan]) -> None:
        self._get = get
        self._etag: str | None = None
        self._seen: Scan | None = None

    def next(self) -> calls.Call[Scan]:
        """The call for the next look."""
        headers = {"If-None-Match": self._etag} if self._etag else {}
        return replace(self._get, headers=headers, parse=self._read, attempts=PATIENCE)

    def _read(self, response: httpx.Response) -> Scan:
        if response.status_code == httpx.codes.NOT_MODIFIED and self._seen is not None:
            return self._seen
        self._seen = calls.read_answer(response, Scan)
        self._etag = response.headers.get("etag")
        return self._seen


class Wait:
    """Decides how long to wait for a scan.

    Args:
        timeout: seconds; None for no limit.
        poll: seconds between two looks.
        on_progress: called with the progress of every look.
    """

    def __init__(self, *, timeout: float | None, poll: float, on_progress: Callable[[Progress], object] | None) -> None:
        self._timeout = timeout
        self._poll = max(poll, SHORTEST_POLL)
        self._on_progress = on_progress
        self.deadline = math.inf if timeout is None else time.monotonic() + timeout
        """On the monotonic clock."""

    def pause_after(self, scan: Scan) -> float | None:
        """Seconds until the next look; None when the scan has succeeded.

        Raises `ScanFailed`, `ScanCancelled`, and `WaitTimeout` after the deadline.
        """
        if self._on_progress is not None:
            self._on_progress(scan.progress)
        if scan.status is ScanStatus.succeeded:
            return None
        if scan.status is ScanStatus.failed:
            raise ScanFailed(scan)
        if scan.status is ScanStatus.cancelled:
            raise ScanCancelled(scan)
        left = self.deadline - time.monotonic()
        if self._timeout is not None and left <= 0:
            raise WaitTimeout(scan, self._timeout)
        return min(self._poll, left)
