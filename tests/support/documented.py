"""The examples in the pages that users read first: their code blocks, and the commands in them."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FILES = {
    "README": REPOSITORY / "README.md",
    "client": REPOSITORY / "client/README.md",
    "service": REPOSITORY / "service/README.md",
    "planting": REPOSITORY / "workers/tokenforce_planting/README.md",
    "measured": REPOSITORY / "workers/MEASURED.md",
    "contributing": REPOSITORY / ".github/CONTRIBUTING.md",
}
PAGES = {name: path.read_text("utf-8") for name, path in FILES.items()}


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
            found += [(name, part.strip()) for part in re.split(r"; | && |&$", command) if part.strip()]
    return found
