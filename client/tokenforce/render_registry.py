"""Fingerprints for human eyes, on stdout. Owners and licences are strangers' texts: shown, never obeyed."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tokenforce import render
from tokenforce.registry import Fingerprint


def print_fingerprints(fingerprints: Sequence[Fingerprint]) -> None:
    """One row a fingerprint: how long its text is and how many triggers it has, never what they say."""
    if not fingerprints:
        render.stdout().print("no fingerprints")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("id", no_wrap=True)
    table.add_column("registered", no_wrap=True)
    table.add_column("text", no_wrap=True)
    table.add_column("triggers", justify="right", no_wrap=True)
    table.add_column("owner", overflow="fold", ratio=1)
    table.add_column("licence", overflow="fold", ratio=1)
    for item in fingerprints:
        kept = "hash of " if item.hashed else ""
        words = f"{kept}{item.text_words} word{'' if item.text_words == 1 else 's'}"
        cells = (item.id, f"{item.created_at:%Y-%m-%d %H:%M}", words, str(item.triggers), item.owner, item.licence)
        table.add_row(*(Text(render.visible(cell)) for cell in cells))
    render.stdout().print(table)
