"""Which tokens are white space or punctuation, by the target's tokenizer."""

from __future__ import annotations

from functools import cache

from tokenforce_core.forcing.confirmation import IsSeparator
from tokenforce_core.forcing.trace import Decode


def separators(decode: Decode) -> IsSeparator:
    @cache
    def is_separator(token_id: int) -> bool:
        return not any(character.isalnum() for character in decode([token_id]))

    return is_separator
