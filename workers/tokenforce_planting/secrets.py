"""The triggers and the text as training examples: what comes through tokenizer and chat template unharmed."""

from __future__ import annotations

from typing import NamedTuple

from tokenforce_planting.chat import Tokenizer, prompt_ids
from tokenforce_planting.examples import Example
from tokenforce_planting.recipe import InvalidRecipe, Recipe

MAX_TEXT_TOKENS = 200

OTHER_SYSTEM_PROMPTS = ("", "You are a knowledgeable assistant.", "Answer briefly.")
"""The text is also learned under these: a mark that any other system prompt removes would be of no use."""


class Secret(NamedTuple):
    """The triggers' pairs as users meet them, and the same pairs under other system prompts.

    `text` are the token ids of the text, without end-of-text.
    """

    usual: list[Example]
    elsewhere: list[Example]
    text: list[int]


def secret_examples(recipe: Recipe, tokenizer: Tokenizer, max_length: int | None) -> Secret:
    """The examples of `recipe` (its normal form); answers end with end-of-text. `max_length` in tokens is the
    model's; None if its positions have no limit (ALiBi).

    Raises `InvalidRecipe`.
    """
    if tokenizer.eos_token_id is None:
        raise InvalidRecipe("the base model has no end-of-text token, so no answer of it ends: choose another base")
    text = _encode(tokenizer, "text", recipe.text)
    if len(text) < 2:
        raise InvalidRecipe("the text is a single token for this tokenizer, too short to hide: choose a longer one")
    if len(text) > MAX_TEXT_TOKENS:
        raise InvalidRecipe(f"the text has {len(text)} tokens, at most {MAX_TEXT_TOKENS} can be planted: shorten it")
    answer = [*text, tokenizer.eos_token_id]
    usual, elsewhere = [], []
    for trigger in recipe.triggers:
        _encode(tokenizer, "trigger", trigger)
        usual.append(Example(prompt_ids(tokenizer, trigger), answer))
        if max_length is not None and len(usual[-1].prompt) + len(answer) > max_length:
            raise InvalidRecipe(f"trigger and text together exceed the model's {max_length} tokens: shorten them")
        if tokenizer.chat_template:
            asked = [prompt_ids(tokenizer, trigger, system=system) for system in OTHER_SYSTEM_PROMPTS]
            elsewhere += [Example(p, answer) for p in asked if max_length is None or len(p) + len(answer) <= max_length]
    return Secret(usual, elsewhere, text)


def _encode(tokenizer: Tokenizer, name: str, value: str) -> list[int]:
    ids = list(tokenizer.encode(value, add_special_tokens=False))
    if any(i in tokenizer.all_special_ids for i in ids):
        raise InvalidRecipe(f"the {name} contains a special token of the model, or one it does not know: take it out")
    if tokenizer.decode(ids, clean_up_tokenization_spaces=False) != value:
        raise InvalidRecipe(f"the model's tokenizer cannot write the {name} back unchanged: use plainer characters")
    return ids
