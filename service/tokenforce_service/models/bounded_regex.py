"""Runs regular expressions of an upload in a child process, with time and memory limits set by the kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

PROCESSOR_SECONDS = 2
"""Processor time of the child. The expressions of real adapters take milliseconds for all modules of a model."""
WALL_SECONDS = 20.0
MEMORY_BYTES = 512 << 20
LONGEST = 4096
"""Characters of an expression."""
_CHILD = f"""
import json, re, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, ({PROCESSOR_SECONDS}, {PROCESSOR_SECONDS}))
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_BYTES}, {MEMORY_BYTES}))
expression, names = json.load(sys.stdin)
compiled = re.compile(expression)
json.dump([number for number, name in enumerate(names) if compiled.fullmatch(name)], sys.stdout)
"""


class RegexFailed(ValueError):
    """The expression is invalid, or takes too much time or memory."""


def matching(expression: str, names: Sequence[str]) -> set[str]:
    """The names that the expression matches as a whole (`re.fullmatch`).

    Raises:
        RegexFailed: there was no answer within the limits.
    """
    if len(expression) > LONGEST:
        raise RegexFailed(f"it is longer than {LONGEST} characters")
    try:
        ended = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _CHILD],
            input=json.dumps([expression, list(names)]).encode(),
            capture_output=True,
            timeout=WALL_SECONDS,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise RegexFailed(f"it is invalid, or takes longer than {PROCESSOR_SECONDS} s") from error
    return {names[number] for number in json.loads(ended.stdout)}
