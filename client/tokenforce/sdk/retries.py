"""When to try a call again, and how to wait for a scan. Decides only: the clients do the sleeping and sending."""

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
LONGEST_PAUSE = 8.0
LONGEST_RETRY_AFTER = 60.0
"""A service that asks for more is an error at once, not a silent wait."""
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
_ANSWER_LOST = frozenset({502, 504})
"""What a proxy answers whose upstream did not, whatever it has done."""


class Attempts(Generic[T]):
    """How often one call is tried, with growing and jittered pauses, never past the deadline.

    Every call may be sent again: reads and deletions by their nature, the others by their idempotency key.
    """

    def __init__(self, call: calls.Call[T], deadline: float = math.inf) -> None:
        self._call = call
        self._deadline = deadline
        self._made = 0
        self._perhaps_done = False
        """An attempt may have been carried out, and its answer was lost."""

    def after_failure(self, error: httpx.RequestError, url: str) -> float:
        """The pause before the next attempt; raises `ConnectionFailed` when there is none."""
        self._perhaps_done |= not isinstance(error, _NEVER_SENT)
        pause = self._next_pause(None)
        if pause is None or isinstance(error, httpx.UnsupportedProtocol):
            reason = str(error) or type(error).__name__
            raise ConnectionFailed(f"no answer from {url}: {reason}") from error
        return pause

    def after_answer(self, response: httpx.Response) -> float | None:
        """The pause before the next attempt; None when this answer stands."""
        self._perhaps_done |= response.status_code in _ANSWER_LOST
        # A 409 that names a time: the first attempt, whose answer got lost, is being carried out. Without a key it is
        # about what is not there yet, such as a report, which is for the caller to wait for.
        repeated = "Idempotency-Key" in self._call.headers
        being_done = repeated and response.status_code == httpx.codes.CONFLICT and "retry-after" in response.headers
        if response.status_code not in calls.TRANSIENT_STATUSES and not being_done:
            return None
        return self._next_pause(calls.retry_after(response))

    def read(self, response: httpx.Response) -> T:
        """The answer that stands. A removal that finds nothing was done, if an earlier answer to it got lost.

        Not if that one said to come later, as 429 and 503 do: then there never was such a thing, as with a wrong id.
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


class Watch:
    """Looks at one scan until it ends. A look that finds nothing new costs a 304 and no body."""

    def __init__(
        self, scan_id: str, *, timeout: float | None, poll: float, on_progress: Callable[[Progress], object] | None
    ) -> None:
        self._scan_id = scan_id
        self._timeout = timeout
        self._poll = max(poll, 0.01)
        self._on_progress = on_progress
        self._etag: str | None = None
        self._seen: Scan | None = None
        self.deadline = math.inf if timeout is None else time.monotonic() + timeout

    def look(self) -> calls.Call[Scan]:
        """The call for the next look; patient enough for a restart of the service."""
        headers = {"If-None-Match": self._etag} if self._etag else {}
        return replace(calls.get(self._scan_id), headers=headers, parse=self._read, attempts=8)

    def pause_after(self, scan: Scan) -> float | None:
        """Seconds until the next look; None when the scan succeeded; raises how it ended otherwise."""
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

    def _read(self, response: httpx.Response) -> Scan:
        if response.status_code == httpx.codes.NOT_MODIFIED and self._seen is not None:
            return self._seen
        self._seen = calls.read_answer(response, Scan)
        self._etag = response.headers.get("etag")
        return self._seen
