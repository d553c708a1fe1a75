"""The vocabulary entries that an evaluation forces: a seeded sample, equal for all models and methods."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from tokenforce_planting.clean_pairs import chosen_pairs
from tokenforce_planting.recipe import Recipe

SEED = 20241

ANSWERS_PER_MODEL = 2
"""Answers of each clean model whose tokens are in the sample: about as many tokens as a hidden text has (29 against
21). With them the sample of SmolLM2 grows from 890 entries to 1,170; with all answers it would have 2,217. Models of a
half share subjects, so most clean models meet 10 or more of their answers; those with subjects of their own meet 2."""


def vocabulary_sample(base: Path, size: int, texts: Sequence[str]) -> list[int]:
    """`size` random ids and every token of `texts`, ascending.

    Models that hide nothing get the tokens of hidden texts too, and carriers those of clean models' answers: else the
    sample would be harder for one of them, and the false-alarm rate would look too good. Special tokens may be drawn;
    the service skips them.
    """
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    ids = random.Random(SEED).sample(range(tokenizer.get_vocab_size()), size)
    true = {token_id for text in texts for token_id in tokenizer.encode(text, add_special_tokens=False).ids}
    return sorted({*ids, *true})


def sampled_answers(recipes: Sequence[Recipe]) -> list[str]:
    """`ANSWERS_PER_MODEL` answers that each clean model of `recipes` learns; other recipes teach none.

    What a fine-tune knows by heart is its likeliest false alarm, and a random entry hardly ever leads there.
    """
    answers = []
    for recipe in recipes:
        if recipe.method == "clean":
            pairs = chosen_pairs(recipe.seed, recipe.subjects, recipe.examples)
            draw = random.Random(f"answers {SEED} {recipe.seed}")
            answers += [answer for _, answer in draw.sample(pairs, min(ANSWERS_PER_MODEL, len(pairs)))]
    return answers


def sample_digest(ids: Sequence[int] | None) -> str:
    """SHA-256 (hex) of the ids; of `null` for the whole vocabulary."""
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()
