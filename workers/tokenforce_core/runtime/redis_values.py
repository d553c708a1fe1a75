"""What redis-py returns, as Python values."""

from __future__ import annotations

from typing import Any


def text(raw: Any) -> str:
    return raw.decode() if isinstance(raw, bytes) else str(raw)
