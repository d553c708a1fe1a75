"""Which base an upload names: its adapter's config, its own config, or its model card."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.models.folder import read_json
from tokenforce_service.refusals import Refusal

MAX_CARD_BYTES = 64 << 10
"""Read of a model card; the front matter of real ones is a few KiB, what follows it does not matter."""
_END = re.compile(r"\n---[ \t]*(?:\n|$)")
_NOTHING = ("", "~", "null")
"""What stands for no value in YAML."""


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
    if isinstance(name, str) and name.strip().lower() not in _NOTHING and name != own_name:
        return name, "model_card"
    return None


def _front_matter(card: Path) -> dict[str, Any]:
    """The YAML between the two lines `---` that a model card begins with; scalars stay strings."""
    if not card.is_file():
        return {}
    try:
        with card.open("rb") as stream:
            read = stream.read(MAX_CARD_BYTES)
            whole = not stream.read(1)
    except OSError as error:
        raise Refusal(ErrorCode.model_invalid, "README.md cannot be read; check its permissions.") from error
    text = read.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
    if not text.startswith("---\n"):
        return {}
    end = _END.search(text, 3)
    if end is None:
        if whole:
            return {}
        raise Refusal(
            ErrorCode.model_invalid,
            f"The front matter of README.md does not end within {MAX_CARD_BYTES >> 10} KiB; shorten it or name the "
            "reference.",
        )
    try:
        value = yaml.load(text[4 : end.start() + 1], _CardLoader)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:  # the last two: of `"\UFFFFFFFF"`
        raise Refusal(
            ErrorCode.model_invalid,
            "The front matter of README.md is not YAML without aliases; mend it or name the reference.",
        ) from error
    return value if isinstance(value, dict) else {}


class _CardLoader(yaml.BaseLoader):
    """Strings, lists and mappings only: no tag is heeded and no alias followed."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)
