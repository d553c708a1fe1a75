"""The folders that a stack started for one scan may read: those named on the command line, and an adapter's base."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tokenforce.wire.scans import ScanRequest

ADAPTER_CONFIG = "adapter_config.json"
LARGEST_CONFIG = 1 << 20
"""Bytes. The service reads it again, and says what is wrong with it."""


def roots_of(request: ScanRequest) -> list[str]:
    """Absolute folders, the model's first.

    A hub cache's folder stands for its repository: the files of `models--org--name/snapshots/<commit>` are links to
    `../../blobs`.
    """
    roots = [_root_of(name) for name in (request.model, request.reference) if name and os.path.isabs(name)]
    if os.path.isabs(request.model) and request.reference in (None, "auto", "none"):
        base = _base_of(Path(request.model))
        roots += [_root_of(base)] if base is not None else []
    return list(dict.fromkeys(roots))


def _base_of(folder: Path) -> str | None:
    """The local base that an adapter's config names, if it is a model folder; None for anything else.

    The adapter may be hostile: naming `/` must not lay the whole disk open to its links.
    """
    config = folder / ADAPTER_CONFIG
    try:
        if (folder / "config.json").exists() or not config.is_file() or config.stat().st_size > LARGEST_CONFIG:
            return None
        named = json.loads(config.read_bytes())
        base = named.get("base_model_name_or_path") if isinstance(named, dict) else None
        if not isinstance(base, str) or not os.path.isabs(base):
            return None
        return base if _is_model(Path(base)) else None
    except (OSError, ValueError, RecursionError):
        return None  # the service refuses the adapter, and says why


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and next(folder.glob("*.safetensors"), None) is not None


def _root_of(folder: str) -> str:
    path = Path(folder)
    cached = path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--")
    return str(path.parent.parent) if cached else folder
