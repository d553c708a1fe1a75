"""When a callback is tried again: exponential backoff with full jitter, for a day. Pure, but for the dice.

Full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter): a receiver that comes back is
not met by everything at once. Every attempt that is not a 2xx counts as failed, redirects and other 4xx among them: a
receiver that is deployed wrongly answers 404 or 401 for a while.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

SHORTEST_PAUSE = 1.0
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 2 * 3600.0
GIVE_UP_AFTER = 24 * 3600.0
"""Seconds since the delivery was created or replayed. The last attempt is at that moment."""
LONGEST_RETRY_AFTER = 3600.0
_ASKING = (429, 503)

Draw = Callable[[float, float], float]


def delivered(status: int | None) -> bool:
    return status is not None and 200 <= status < 300


def gone(status: int | None) -> bool:
    """The receiver wants no callbacks any more."""
    return status == 410


def next_attempt(
    attempts: int,
    since: float,
    now: float,
    asked: float | None = None,
    draw: Draw = random.uniform,
) -> float | None:
    """The time of the next attempt after `attempts` failed ones, in seconds since the epoch; None: given up."""
    last = since + GIVE_UP_AFTER
    if now >= last:
        return None
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempts - 1, 30))
    return min(now + max(draw(SHORTEST_PAUSE, longest), asked or 0.0), last)


def asked_pause(status: int | None, retry_after: str | None, now: float) -> float | None:
    """Seconds that a 429 or 503 asks to wait (RFC 9110, 10.2.3: seconds or a date), at most an hour."""
    if status not in _ASKING or retry_after is None:
        return None
    try:
        seconds = float(retry_after) if retry_after.strip().isdecimal() else _until(retry_after, now)
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if math.isfinite(seconds) else LONGEST_RETRY_AFTER


def _until(date: str, now: float) -> float:
    parsed = parsedate_to_datetime(date)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() - now
