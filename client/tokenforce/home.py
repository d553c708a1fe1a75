"""Where the local stack keeps its files. The CLI, the service and planting all ask here."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder of the local stack, its models and its logs: `TOKENFORCE_HOME`, else `~/.tokenforce`; absolute."""
    return Path(os.environ.get("TOKENFORCE_HOME") or "~/.tokenforce").expanduser().absolute()
