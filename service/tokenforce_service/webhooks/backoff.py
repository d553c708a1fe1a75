"""When a delivery is tried again: exponential backoff with full jitter, for a day. Pure, except for the random numbers.

Full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter) spreads the attempts, so that a
receiver that comes back does not get all of them at once. Every answer other than 2xx counts as failed, also redirects
and 4xx: a receiver that is deployed wrongly answers 404 or 401 for a while.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

SHORTEST_PAUSE_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 5.0
"""Longest pause after the first attempt. It doubles with each attempt, up to `LONGEST_PAUSE_SECONDS`."""
LONGEST_PAUSE_SECONDS = 2 * 3600.0
GIVE_UP_AFTER_SECONDS = 24 * 3600.0
"""Since the delivery was created or replayed. The last attempt is then."""
LONGEST_RETRY_AFTER_SECONDS = 3600.0
_WITH_RETRY_AFTER = (429, 503)

Draw = Callable[[float, float], float]


def delivered(status: int | None) -> bool:
    return status is not None and 200 <= status < 300


def gone(status: int | None) -> bool:
    """Whether the receiver wants no more webhooks."""
    return status == 410


def next_attempt(
    attempts: int,
    since: float,
    now: float,
    asked: float | None = None,
    draw: Draw = random.uniform,
) -> float | None:
    """The time of the next attempt after `attempts` failed ones, in seconds since the epoch; None to give up.

    Args:
        since, now: when the delivery was created or replayed, and now, in seconds since the epoch.
        asked: seconds that the receiver asked to wait.
    """
    last = since + GIVE_UP_AFTER_SECONDS
    if now >= last:
        return None
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(attempts - 1, 30))
    return min(now + max(draw(SHORTEST_PAUSE_SECONDS, longest), asked or 0.0), last)


def asked_pause(status: int | None, retry_after: str | None, now: float) -> float | None:
    """Seconds that a 429 or 503 asks to wait (RFC 9110, 10.2.3: seconds or a date), at most an hour."""
    if status not in _WITH_RETRY_AFTER or retry_after is None:
        return None
    try:
        seconds = float(retry_after) if retry_after.strip().isdecimal() else _until(retry_after, now)
    except (ValueError, OverflowError):
        return None
    longest = LONGEST_RETRY_AFTER_SECONDS
    return min(max(seconds, 0.0), longest) if math.isfinite(seconds) else longest


def _until(date: str, now: float) -> float:
    parsed = parsedate_to_datetime(date)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() - now
