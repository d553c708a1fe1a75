"""Refuses tokenizer configs that name files to read.

transformers passes all fields of a tokenizer config to the constructor of the tokenizer, and some constructors open the
files named there. `{"tokenizer_class": "BertTokenizer", "vocab": "/proc/self/environ"}` would show this file as tokens
in a report.
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
"""Older versions of transformers saved these with paths of the training machine, so many good models have them. Version
5.19 and later override or ignore them in tokenizer_config.json."""


def refuse_named_files(name: str, content: Mapping[str, Any]) -> None:
    """Check the `content` of a tokenizer config called `name`, anywhere in the folder: some classes read subfolders.

    Raises:
        Refusal: `model_invalid`.
    """
    harmless = _WITHOUT_EFFECT.get(name, ())
    field = next((field for field in _fields_with_files(content) if field not in harmless), None)
    if field is not None:
        raise Refusal(
            ErrorCode.model_invalid,
            f"{name} names (`{field[:100]}`) a file to be read for the tokenizer; keep the files of the tokenizer in "
            "the folder under their usual names, and remove this entry.",
        )


def _fields_with_files(content: Mapping[str, Any]) -> Iterator[str]:
    pending = [content]
    while pending:  # no recursion: an upload decides how deep it is nested
        for field, value in pending.pop().items():
            unnamed = field == "init_inputs" and value  # positional arguments of the constructor
            if unnamed or (isinstance(value, str) and _NAMES_A_FILE.fullmatch(field)):
                yield field
            elif isinstance(value, dict) and field.endswith("_kwargs"):
                pending.append(value)
