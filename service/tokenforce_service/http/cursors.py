"""Opaque page cursors: base64url JSON, checked when they come back."""

from __future__ import annotations

import base64
import binascii
import json
import math

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.refusals import Refusal


def encode(*parts: str | float | int) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def scan_position(cursor: str) -> tuple[float, str]:
    """(creation time, id) of the last item of a page."""
    parts = _decode(cursor)
    if len(parts) == 2 and isinstance(parts[0], float) and isinstance(parts[1], str):
        return parts[0], parts[1]
    raise _invalid()


def finding_position(cursor: str, order: str) -> int:
    """How many findings of this order have been read."""
    parts = _decode(cursor)
    if len(parts) == 2 and parts[0] == order and isinstance(parts[1], int) and 0 <= parts[1] < 10**9:
        return parts[1]
    raise _invalid()


def _decode(cursor: str) -> list[object]:
    try:
        value = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is JSON, and nothing for the store
    except (binascii.Error, ValueError, RecursionError) as error:
        raise _invalid() from error
    if not isinstance(value, list) or any(isinstance(v, bool) or v != v or v in (math.inf, -math.inf) for v in value):
        raise _invalid()
    return value


def _invalid() -> Refusal:
    return Refusal(ErrorCode.invalid_cursor, "The cursor is not one of ours for this list; start again without it.")
