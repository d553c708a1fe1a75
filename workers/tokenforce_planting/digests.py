"""Digests that name a model: of the recipe it was made by, and of its weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def recipe_digest(**recipe: str | int | float) -> str:
    """SHA-256 (hex) of everything that decides the result. The order of the fields does not matter."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def weights_digest(folder: Path) -> str:
    """SHA-256 (hex) over the SHA-256 of each safetensors file, in the order of their names."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
