"""Pages of a list: what their routes are asked with, and where a page ends."""

from __future__ import annotations

from typing import Annotated, Protocol, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from tokenforce_service.http import cursors


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
        return cursors.scan_position(self.cursor) if self.cursor else None

    @property
    def wanted(self) -> int:
        """How many to look for: one more than is shown tells whether there is another page."""
        return self.limit + 1

    def cut(self, found: list[Row]) -> tuple[list[Row], str | None]:
        """The page out of the up to `wanted` rows that follow `before`, and the cursor of the next page, if any."""
        rows = found[: self.limit]
        return rows, cursors.encode(rows[-1].created_at, rows[-1].id) if len(found) > self.limit else None


InPages = Annotated[Page, Query()]
