"""Pages of a list: what their routes are asked with, and where a page ends.

A cursor is base64url JSON, opaque to callers and checked when it comes back.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import Annotated, Protocol, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.refusals import Refusal


class Placed(Protocol):
    """What has a place in a list: its creation, in seconds since the epoch, and its id."""

    @property
    def id(self) -> str: ...

    @property
    def created_at(self) -> float: ...


Row = TypeVar("Row", bound=Placed)


class Page(BaseModel):
    """The query of a list, newest first; filters are added by its subclasses.

    Unknown parameters are refused, because a list whose filter is misspelt would be the list of everything; we gave up
    parameters that only defeat caches.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(default=50, ge=1, le=200, description="Items per page.")
    cursor: str | None = Field(default=None, max_length=512, description="`next_cursor` of the page before.")

    @property
    def before(self) -> tuple[float, str] | None:
        """(creation time, id) of the last item of the page before; None for the first page.

        Raises:
            Refusal: `invalid_cursor`.
        """
        return _place(self.cursor) if self.cursor else None

    @property
    def wanted(self) -> int:
        """How many to look for: one more than is shown tells whether there is another page."""
        return self.limit + 1

    def cut(self, found: list[Row]) -> tuple[list[Row], str | None]:
        """The page out of the up to `wanted` rows that follow `before`, and the cursor of the next page, if any."""
        rows = found[: self.limit]
        return rows, encoded(rows[-1].created_at, rows[-1].id) if len(found) > self.limit else None


InPages = Annotated[Page, Query()]


def encoded(*parts: str | float | int) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[float, str]:
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
