"""client/README.md is short, and its map names every file."""

from __future__ import annotations

import re

from tests.support.documented import PAGES, REPOSITORY

MOST_WORDS = 550


def test_its_prose_is_short() -> None:
    prose = re.sub(r"```.*?```", "", PAGES["client"], flags=re.DOTALL)
    assert len(prose.split()) <= MOST_WORDS


def test_its_map_names_every_file_with_few_words() -> None:
    files = PAGES["client"].rpartition("## Files")[2]
    alone = {path.stem for path in (REPOSITORY / "client" / "tokenforce").glob("[!_]*.py")}
    assert re.findall(r"^tokenforce/(\w+) +\w.*$", files, re.MULTILINE) == sorted(alone)
    rooms = re.split(r"^tokenforce/(\w+)/.*\n", files, flags=re.MULTILINE)[1:]
    shown = dict(zip(rooms[::2], rooms[1::2], strict=True))
    assert list(shown) == ["cli", "sdk", "wire"]
    for room, lines in shown.items():
        rows = re.findall(r"^    ((?:\w+ )+) +(.*)$", lines, re.MULTILINE)
        named = sorted(name for names, _ in rows for name in names.split())
        found = {path.stem for path in (REPOSITORY / "client" / "tokenforce" / room).glob("[!_]*")}
        assert named == sorted(found), room
        assert all(len(words.split()) <= 6 for _, words in rows)
