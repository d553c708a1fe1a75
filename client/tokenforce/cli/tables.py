"""What the service has several of, as one kind of table, or as JSON.

Cells are often strangers' texts (owners, models, patterns): shown, never obeyed.
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
    """How things of one kind are listed: a row each. `wide` columns are folded where the line is too short."""

    noun: str
    """In the plural, for when there are none."""
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
    """That the thing of this id is gone: data on stdout only as JSON."""
    if as_json:
        output.print_json(json.dumps({"id": name, "removed": True}))
    else:
        sys.stderr.write("removed\n")


def minute(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
