"""What `tokenforce doctor` says about one thing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """`fail`: scans do not work before you fix it. `warn`: some scans may not work."""

    ok = "ok"
    warn = "warn"
    fail = "fail"


@dataclass(frozen=True)
class Check:
    """What one check found. `advice` says what to do, if there is anything to do."""

    name: str
    level: Level
    found: str
    advice: str = ""


def judged(name: str, found: str, *problems: tuple[object, Level, str]) -> Check:
    """The check with the level and advice of the first problem (is it one?, level, advice) that exists; else `ok`."""
    level, advice = next(((level, advice) for exists, level, advice in problems if exists), (Level.ok, ""))
    return Check(name, level, found, advice)
