"""The base model that a whole model's own files name: config.json or the model card."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.models.folder import Folder
from tokenforce_service.refusals import Refusal

MODEL_CARD = "README.md"
MAX_CARD_BYTES = 64 << 10
"""Bytes that are read of a model card; the front matter of real ones takes a few KiB."""
_END = re.compile(r"\n---[ \t]*(?:\n|$)")
_NOTHING = ("", "~", "null")
"""No value, in YAML."""


def named_base(folder: Folder, own_name: str) -> tuple[str, str] | None:
    """(base model, `config` or `model_card`) as a model folder's files name it; None if they name none.

    Args:
        own_name: the target as the request names it: a model is not its own base.

    Raises:
        Refusal: `model_invalid` if the model card cannot be read.
    """
    config, path = folder.config, folder.path
    for field in ("base_model", "_name_or_path"):
        name = config.get(field)
        if isinstance(name, str) and name.strip() and name not in (own_name, str(path), path.name):
            return name, "config"
    found = _front_matter(folder).get("base_model")
    name = found[0] if isinstance(found, list) and found else found
    if isinstance(name, str) and name.strip().lower() not in _NOTHING and name != own_name:
        return name, "model_card"
    return None


def _front_matter(folder: Folder) -> dict[str, Any]:
    """The YAML between the two lines `---` at the start of a model card; scalars stay strings."""
    if MODEL_CARD not in folder.files:
        return {}
    try:
        with (folder.path / MODEL_CARD).open("rb") as stream:
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
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:  # the last two: `"\UFFFFFFFF"`
        raise Refusal(
            ErrorCode.model_invalid,
            "The front matter of README.md is not YAML without aliases; correct it or name the reference.",
        ) from error
    return value if isinstance(value, dict) else {}


class _CardLoader(yaml.BaseLoader):
    """Strings, lists and mappings only: tags have no effect, and an alias is an error."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)
