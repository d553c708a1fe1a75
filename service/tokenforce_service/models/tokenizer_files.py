"""What an upload's tokenizer configs may not say: which files to read.

transformers passes whatever stands in them to the tokenizer's constructor, and some constructors open what they get
there. `{"tokenizer_class": "BertTokenizer", "vocab": "/proc/self/environ"}` would show that file as tokens in a report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.refusals import Refusal

TOKENIZER_CONFIGS = ("tokenizer_config.json", "special_tokens_map.json")
_NAMES_A_FILE = re.compile(r"(?:.*_)?(?:file|path|dir|spm|vocab|merges|rules)", re.DOTALL)
"""Whole names of fields: `vocab_file`, `vocab`, `source_spm`, `rewriting_rules`, … (transformers 5.19)."""
_WITHOUT_EFFECT = {"tokenizer_config.json": ("name_or_path", "special_tokens_map_file", "tokenizer_file")}
"""Older versions saved these with paths of the training machine, so that many sound models have them; since 5.19 at the
latest, transformers overrides or ignores what tokenizer_config.json says there."""


def refuse_named_files(name: str, content: Mapping[str, Any]) -> None:
    """`content` is that of the tokenizer config `name`, wherever in the folder it lies: some classes read subfolders.

    Raises:
        Refusal: `model_invalid`.
    """
    harmless = _WITHOUT_EFFECT.get(name, ())
    field = next((field for field in _fields_with_files(content) if field not in harmless), None)
    if field is not None:
        raise Refusal(
            ErrorCode.model_invalid,
            f"{name} names (`{field[:100]}`) a file to be read for the tokenizer; leave the tokenizer's files in the "
            "folder under their usual names, and remove that entry.",
        )


def _fields_with_files(content: Mapping[str, Any]) -> Iterator[str]:
    pending = [content]
    while pending:  # no recursion: an upload decides how deep it is nested
        for field, value in pending.pop().items():
            unnamed = field == "init_inputs" and value  # the constructor's arguments without their names
            if unnamed or (isinstance(value, str) and _NAMES_A_FILE.fullmatch(field)):
                yield field
            elif isinstance(value, dict) and field.endswith("_kwargs"):
                pending.append(value)
