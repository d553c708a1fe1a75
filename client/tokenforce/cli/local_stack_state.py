"""The local stack that runs on this machine, by what it wrote down; for those who did not start it."""

from __future__ import annotations

from pydantic import ValidationError

from tokenforce.cli.doctor.check import home
from tokenforce.cli.local_stack import StackAddress


def running_stack() -> StackAddress | None:
    """The address of this user's stack; None when none runs. It may have died without a word: nothing is asked here."""
    try:
        return StackAddress.model_validate_json((home() / "stack.json").read_bytes())
    except (OSError, ValidationError):
        return None
