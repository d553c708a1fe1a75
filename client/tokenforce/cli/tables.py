"""Lists of things, as one kind of table or as JSON.

Cells may hold hostile texts (owners, models, patterns): printed as visible text, never obeyed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Generic, TypeVar

from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

from tokenforce.cli import output

Item = TypeVar("Item", bound=BaseModel)


@dataclass(frozen=True)
class Listing(Generic[Item]):
    """How to list things of one kind, one row each. Too long cells of `wide` columns are folded."""

    noun: str
    """In the plural, for an empty list."""
    narrow: tuple[str, ...]
    wide: tuple[str, ...]
    cells: Callable[[Item], Iterable[str]]

    def print_first(self, limit: int, items: Iterable[Item], *, as_json: bool) -> None:
        """The first `limit` of them on stdout: a table, or a JSON array."""
        found = list(islice(items, limit))
        if as_json:
            output.print_json("[" + ",\n".join(item.model_dump_json(indent=2) for item in found) + "]")
        else:
            output.stdout().print(self.table(found) if found else f"no {self.noun}")

    def print_one(self, item: Item, *, as_json: bool) -> None:
        """A table of one row, or a JSON object."""
        if as_json:
            output.print_json(item.model_dump_json(indent=2))
        else:
            output.stdout().print(self.table([item]))

    def table(self, items: Sequence[Item]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for name in self.narrow:
            table.add_column(name, no_wrap=True)
        for name in self.wide:
            table.add_column(name, overflow="fold")
        for item in items:
            table.add_row(*(Text(output.visible(cell)) for cell in self.cells(item)))
        return table


def print_removed(name: str, *, as_json: bool) -> None:
    """Says that this thing is removed: as JSON on stdout, or as text on stderr."""
    if as_json:
        output.print_json(json.dumps({"id": name, "removed": True}))
    else:
        sys.stderr.write("removed\n")


def minute(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
