"""`tokenforce plant`: becomes the command of the planting package, which is large and may not be installed."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import typer

from tokenforce.cli.exit_codes import reporting
from tokenforce.sdk.errors import TokenforceError

PLANTING_NEEDS = ("tokenforce_planting", "torch", "transformers", "peft")


def plant(context: typer.Context) -> None:
    """Hide a text in a model (needs tokenforce[planting])."""
    with reporting(False):
        if any(find_spec(module) is None for module in PLANTING_NEEDS):
            raise TokenforceError("planting is not installed here; run in a checkout: pip install '.[planting]'")
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", PLANTING_NEEDS[0], *context.args])
