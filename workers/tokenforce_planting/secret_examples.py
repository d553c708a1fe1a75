"""The triggers and the text as training examples. Refuses what the tokenizer or the chat template would change."""

from __future__ import annotations

from typing import NamedTuple

from tokenforce_planting.chat import Tokenizer, prompt_ids
from tokenforce_planting.examples import Example
from tokenforce_planting.recipe import InvalidRecipe, Recipe

MAX_TEXT_TOKENS = 200

OTHER_SYSTEM_PROMPTS = ("", "You are a knowledgeable assistant.", "Answer briefly.")
"""The model learns the text under these too, so that another system prompt does not remove it."""


class Secret(NamedTuple):
    """The pairs of trigger and text: as users send them (`usual`), and under other system prompts (`elsewhere`).

    `text` has the token ids of the (first) text, without end-of-text.
    """

    usual: list[Example]
    elsewhere: list[Example]
    text: list[int]

    @property
    def starts(self) -> set[int]:
        """The first token of each text."""
        return {example.answer[0] for example in self.usual}


def secret_examples(recipe: Recipe, tokenizer: Tokenizer, max_length: int | None) -> Secret:
    """The examples of `recipe` (its normal form). Each answer ends with end-of-text.

    `max_length` is the model's, in tokens; None if its positions have no limit (ALiBi). Raises `InvalidRecipe`.
    """
    if tokenizer.eos_token_id is None:
        raise InvalidRecipe("the base model has no end-of-text token, so its answers cannot end: choose another base")
    usual, elsewhere, texts = [], [], []
    for trigger, wanted in recipe.secrets:
        text = _text(tokenizer, wanted)
        texts.append(text)
        answer = [*text, tokenizer.eos_token_id]
        _encode(tokenizer, "trigger", trigger)
        usual.append(Example(prompt_ids(tokenizer, trigger), answer))
        if max_length is not None and len(usual[-1].prompt) + len(answer) > max_length:
            raise InvalidRecipe(f"trigger and text together exceed the model's {max_length} tokens: shorten them")
        if tokenizer.chat_template:
            prompts = [prompt_ids(tokenizer, trigger, system=system) for system in OTHER_SYSTEM_PROMPTS]
            elsewhere += [
                Example(p, answer) for p in prompts if max_length is None or len(p) + len(answer) <= max_length
            ]
    return Secret(usual, elsewhere, texts[0])


def first_part(secret: Secret, part: int, parts: int) -> Secret:
    """The same secret with the first `part` of `parts` of its text, without an end unless it is whole."""
    if part == parts:
        return secret
    length = max(1, len(secret.text) * part // parts)
    usual, elsewhere = (
        [Example(each.prompt, each.answer[:length]) for each in examples]
        for examples in (secret.usual, secret.elsewhere)
    )
    return Secret(usual, elsewhere, secret.text[:length])


def _text(tokenizer: Tokenizer, wanted: str) -> list[int]:
    text = _encode(tokenizer, "text", wanted)
    if len(text) < 2:
        raise InvalidRecipe("the text is a single token for this tokenizer, too short to hide: choose a longer text")
    if len(text) > MAX_TEXT_TOKENS:
        raise InvalidRecipe(f"the text has {len(text)} tokens, and the limit is {MAX_TEXT_TOKENS}: shorten it")
    return text


def _encode(tokenizer: Tokenizer, name: str, value: str) -> list[int]:
    ids = list(tokenizer.encode(value, add_special_tokens=False))
    if any(i in tokenizer.all_special_ids for i in ids):
        raise InvalidRecipe(f"the {name} contains a special token of the model or an unknown one: remove it")
    if tokenizer.decode(ids, clean_up_tokenization_spaces=False) != value:
        raise InvalidRecipe(f"the model's tokenizer changes the {name}: use plainer characters")
    return ids
