"""Loads the tokenizers of an upload."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.refusals import Refusal

TOKENIZER_SECONDS = 60.0
"""Deadline. A tokenizer with 262k entries takes a few seconds; a hostile one or its template could run for ever."""


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of a checked folder; no code from it runs.

    Raises:
        Refusal: `model_invalid`.
    """
    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    # Hostile or broken tokenizer files raise almost any exception; to the user all of them mean the same.
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise Refusal(
            ErrorCode.model_invalid, f"The tokenizer cannot be loaded ({reason}); upload it again."
        ) from error


class Tokenizers:
    """The tokenizers of one plan. Each folder's is loaded once, because loading takes seconds and opens its files."""

    def __init__(self) -> None:
        self.of = cache(load_tokenizer)
