"""The vocabulary entries that an evaluation forces: a seeded sample, equal for all models and methods."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

SEED = 20241


def vocabulary_sample(base: Path, size: int, texts: Sequence[str]) -> list[int]:
    """`size` random ids and every token of `texts`, ascending.

    Models that hide nothing get the tokens of the texts too: else the sample would be harder for carriers than for
    clean models, and the false-alarm rate would look too good. Special tokens may be drawn; the service skips them.
    """
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    ids = random.Random(SEED).sample(range(tokenizer.get_vocab_size()), size)
    true = {token_id for text in texts for token_id in tokenizer.encode(text, add_special_tokens=False).ids}
    return sorted({*ids, *true})


def sample_digest(ids: Sequence[int] | None) -> str:
    """SHA-256 (hex) of the ids; of `null` for the whole vocabulary."""
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()
