"""Which vocabulary entries an evaluation forces: a seeded sample, the same for every model and every method."""

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

    The texts' own tokens are in it for every model, those that hide nothing too: a sample that is kinder to the
    carriers would flatter the false-alarm rate. Special tokens may be drawn; the service skips them.
    """
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    ids = random.Random(SEED).sample(range(tokenizer.get_vocab_size()), size)
    true = {token_id for text in texts for token_id in tokenizer.encode(text, add_special_tokens=False).ids}
    return sorted({*ids, *true})


def sample_digest(ids: Sequence[int] | None) -> str:
    """SHA-256 (hex) of the ids; of `null` for the whole vocabulary."""
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()
