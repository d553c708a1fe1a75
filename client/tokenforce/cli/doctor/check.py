"""What `tokenforce doctor` says of one thing that it looked at, and how it asks other Pythons."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tokenforce.cli.local_stack import safe_environment

LONGEST_COMPLAINT = 300


class Level(StrEnum):
    """`fail`: scans will not work until it is mended. `warn`: they may not, or not all of them."""

    ok = "ok"
    warn = "warn"
    fail = "fail"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `advice` says what to do about it, if anything is to be done."""

    name: str
    level: Level
    found: str
    advice: str = ""


class ProbeFailed(Exception):
    """The probe's process ended without an answer; the message is the last line of what it said."""


class ProbeTooSlow(ProbeFailed):
    """It took longer than it may, which says nothing of what it looks at."""


def installed(name: str) -> str | None:
    """The version of an installed distribution; None without it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def home() -> Path:
    """The folder of the local stack."""
    return Path(os.environ.get("TOKENFORCE_HOME") or Path.home() / ".tokenforce").absolute()


def probe(program: str, *, seconds: float, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What a Python program prints as JSON in its last line, run in a process of its own.

    For what this package may not import. Secrets go by `environment`: arguments are seen by everybody on the machine.

    Raises:
        ProbeFailed: it did not run to its end. `ProbeTooSlow`: it took longer.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**safe_environment(), **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProbeTooSlow(f"no answer within {seconds:.0f} s") from None
    answer = _last_line(done.stdout)
    try:
        found = json.loads(answer)
    except ValueError:
        found = None
    if done.returncode == 0 and isinstance(found, dict):
        return found
    raise ProbeFailed(_last_line(done.stderr)[:LONGEST_COMPLAINT] or f"it ended with status {done.returncode}")


def _last_line(text: str) -> str:
    lines: Iterable[str] = (line.strip() for line in reversed(text.splitlines()))
    return next((line for line in lines if line), "")
