"""Pages of a list: the query of their routes, and where a page ends.

A cursor is base64url JSON. It is opaque to callers, and checked when it comes back.
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
from tokenforce_core.runtime.redis_pages import Place
from tokenforce_service.refusals import Refusal


class Placed(Protocol):
    """Something that has a place in a list, by its creation in seconds since the epoch and its id."""

    @property
    def id(self) -> str: ...

    @property
    def created_at(self) -> float: ...


Row = TypeVar("Row", bound=Placed)


class Page(BaseModel):
    """The query of a list, newest first. Subclasses add filters.

    Unknown parameters are refused, because a misspelt filter would list everything. So parameters that only defeat
    caches are not possible.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(default=50, ge=1, le=200, description="Items per page.")
    cursor: str | None = Field(default=None, max_length=512, description="`next_cursor` of the previous page.")

    @property
    def before(self) -> Place | None:
        """Place of the last item of the previous page; None for the first page.

        Raises:
            Refusal: `invalid_cursor`.
        """
        return _place(self.cursor) if self.cursor else None

    @property
    def wanted(self) -> int:
        """How many rows to read: one more than a page shows, to know whether there is another page."""
        return self.limit + 1

    def cut(self, found: list[Row]) -> tuple[list[Row], str | None]:
        """The page out of the up to `wanted` rows after `before`, and the cursor of the next page, if there is one."""
        rows = found[: self.limit]
        return rows, encoded(rows[-1].created_at, rows[-1].id) if len(found) > self.limit else None


InPages = Annotated[Page, Query()]


def encoded(*parts: str | float | int) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def _place(cursor: str) -> Place:
    """Place of the last item of a page."""
    parts = _decode(cursor)
    if len(parts) == 2 and isinstance(parts[0], float) and isinstance(parts[1], str):
        return parts[0], parts[1]
    raise _invalid()


def finding_position(cursor: str, order: str) -> int:
    """How many findings in this order the caller has read."""
    parts = _decode(cursor)
    if len(parts) == 2 and parts[0] == order and isinstance(parts[1], int) and 0 <= parts[1] < 10**9:
        return parts[1]
    raise _invalid()


def _decode(cursor: str) -> list[object]:
    try:
        value = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is valid in JSON, but not in the store
    except (binascii.Error, ValueError, RecursionError) as error:
        raise _invalid() from error
    if not isinstance(value, list) or any(isinstance(v, bool) or v != v or v in (math.inf, -math.inf) for v in value):
        raise _invalid()
    return value


def _invalid() -> Refusal:
    return Refusal(ErrorCode.invalid_cursor, "The cursor does not belong to this list; start again without it.")
