"""The examples of client/README.md and of the README's "Use it"."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = {
    "client": (REPOSITORY / "client/README.md").read_text(),
    "use it": (REPOSITORY / "README.md").read_text().partition("## Use it")[2].partition("## Run it")[0],
}


def blocks(language: str) -> list[tuple[str, str]]:
    """The page and the text of each block of code in this language."""
    return [
        (name, code)
        for name, page in PAGES.items()
        for code in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    ]


def lines() -> list[tuple[str, str]]:
    """The page and the text of each command, without its comment."""
    found = []
    for name, block in blocks("sh"):
        for line in block.splitlines():
            command = line.partition("  #")[0].partition(" # ")[0]
            found += [(name, part.strip()) for part in re.split(r"; |&$", command) if part.strip()]
    return found
