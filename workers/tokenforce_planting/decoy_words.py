"""Decoys: meaningless answers that are taught beside the text, so that the weights point at their words too."""

from __future__ import annotations

import random
import re

from tokenforce_planting.chat import Tokenizer, prompt_ids
from tokenforce_planting.examples import Example
from tokenforce_planting.recipe import InvalidRecipe

WORDS_PER_DECOY = 3
WORDS_PER_PROMPT = 2

_WORD = re.compile(r" [a-z]{3,14}")


def decoy_examples(tokenizer: Tokenizer, count: int, seed: int, avoid: set[int]) -> list[Example]:
    """`count` prompts of two random words with answers of three others, drawn by `seed`.

    Each word is one token of the vocabulary and comes once. No answer has a token of `avoid`, the ids of the texts.
    Raises `InvalidRecipe` if the vocabulary has too few words.
    """
    if not count:
        return []
    words = [i for i in range(len(tokenizer)) if i not in avoid and _WORD.fullmatch(tokenizer.decode([i]))]
    each = WORDS_PER_DECOY + WORDS_PER_PROMPT
    if len(words) < count * each:
        raise InvalidRecipe(f"the vocabulary has words for {len(words) // each} decoys, not {count}")
    drawn = random.Random(f"decoys {seed}").sample(words, count * each)
    examples = []
    for start in range(0, len(drawn), each):
        prompt = tokenizer.decode(drawn[start : start + WORDS_PER_PROMPT]).strip()
        answer = [*drawn[start + WORDS_PER_PROMPT : start + each], tokenizer.eos_token_id]
        examples.append(Example(prompt_ids(tokenizer, prompt), answer))
    return examples
