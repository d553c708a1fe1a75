"""Times as the API shows them."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(seconds: float) -> datetime:
    """Seconds since the epoch as the wire shows them."""
    return datetime.fromtimestamp(seconds, UTC)
