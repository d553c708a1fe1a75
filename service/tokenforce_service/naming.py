"""Which base an upload names: its adapter's config, its own config, or its model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tokenforce.types import ErrorCode
from tokenforce_service.refusals import Refusal
from tokenforce_service.uploads import read_json

MAX_CARD_BYTES = 1 << 20


def named_base(path: Path, own_name: str) -> tuple[str, str] | None:
    """(base model, `config` or `model_card`) as a model folder's files name it; None if they name none.

    Args:
        own_name: the target as the request names it: a model is no base of itself.

    Raises:
        Refusal: `model_invalid`, if the files cannot be read.
    """
    config = read_json(path / "config.json") if (path / "config.json").is_file() else {}
    for field in ("base_model", "_name_or_path"):
        name = config.get(field)
        if isinstance(name, str) and name.strip() and name not in (own_name, str(path), path.name):
            return name, "config"
    found = _front_matter(path / "README.md").get("base_model")
    name = found[0] if isinstance(found, list) and found else found
    if isinstance(name, str) and name.strip() and name != own_name:
        return name, "model_card"
    return None


def _front_matter(card: Path) -> dict[str, Any]:
    """The YAML between the two lines `---` that a model card begins with."""
    if not card.is_file():
        return {}
    if card.stat().st_size > MAX_CARD_BYTES:
        raise Refusal(ErrorCode.model_invalid, f"README.md is larger than {MAX_CARD_BYTES >> 20} MiB; shorten it.")
    text = card.read_text("utf-8", errors="replace")
    if not text.startswith("---\n"):
        return {}
    block, end, _ = text[4:].partition("\n---")
    if not end:
        return {}
    try:
        value = yaml.safe_load(block)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Refusal(
            ErrorCode.model_invalid, "The front matter of README.md is not valid YAML; mend it or name the reference."
        ) from error
    return value if isinstance(value, dict) else {}
