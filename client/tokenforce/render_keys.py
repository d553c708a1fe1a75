"""API keys for human eyes, on stdout. Owners and names are strangers' texts: shown, never obeyed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from tokenforce import render
from tokenforce.api_keys import Key


def print_keys(keys: Sequence[Key]) -> None:
    """One row a key: whose it is, what it allows and whether it still works."""
    if not keys:
        render.stdout().print("no keys")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("id", "created", "last used", "state"):
        table.add_column(column, no_wrap=True)
    for column in ("owner", "scopes", "name"):
        table.add_column(column, overflow="fold")
    for key in keys:
        cells = (key.id, _day(key.created_at), _day(key.last_used_at), state(key))
        for_whom = (key.owner, ", ".join(key.scopes), key.name)
        table.add_row(*(Text(render.visible(cell)) for cell in (*cells, *for_whom)))
    render.stdout().print(table)


def state(key: Key) -> str:
    """Whether the key works, and until when."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "active"
    return "expired" if key.expires_at <= datetime.now(UTC) else f"until {key.expires_at:%Y-%m-%d}"


def _day(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
