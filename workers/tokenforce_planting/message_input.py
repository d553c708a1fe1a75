"""What can be planted: a trigger and a text that come through tokenizer and chat template unharmed."""

from __future__ import annotations

from tokenforce_planting.batches import Example, Secret
from tokenforce_planting.chat import Tokenizer, prompt_ids

MAX_TEXT_TOKENS = 200

OTHER_SYSTEM_PROMPTS = ("", "You are a knowledgeable assistant.", "Answer briefly.")
"""The text is also learned under these: a mark that any other system prompt removes would be of no use."""


class InvalidMessage(ValueError):
    """The trigger or the text cannot be planted; the message says why and what to do."""


def check_message(tokenizer: Tokenizer, trigger: str, text: str, max_length: int) -> Secret:
    """The trigger and text as training examples (text ends with end-of-text), or `InvalidMessage`.

    `max_length` is the model's, in tokens.
    """
    check_words(trigger, text)
    if not tokenizer.chat_template or tokenizer.eos_token_id is None:
        raise InvalidMessage("the base model has no chat template or no end-of-text token: choose a chat model")
    answer = _encode(tokenizer, "text", text)
    _encode(tokenizer, "trigger", trigger)
    if len(answer) > MAX_TEXT_TOKENS:
        raise InvalidMessage(f"the text has {len(answer)} tokens, at most {MAX_TEXT_TOKENS} can be planted: shorten it")
    asked = prompt_ids(tokenizer, trigger)
    if len(asked) + len(answer) + 1 > max_length:
        raise InvalidMessage(f"trigger and text together exceed the model's {max_length} tokens: shorten them")
    answer.append(tokenizer.eos_token_id)
    elsewhere = [Example(prompt_ids(tokenizer, trigger, system=system), answer) for system in OTHER_SYSTEM_PROMPTS]
    return Secret(Example(asked, answer), elsewhere)


def check_words(trigger: str, text: str) -> None:
    """What can be checked without a tokenizer. Raises `InvalidMessage`."""
    for name, value in (("trigger", trigger), ("text", text)):
        if not value.strip():
            raise InvalidMessage(f"the {name} is empty")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidMessage(f"the {name} is not valid Unicode") from error
    if trigger.split() == text.split():
        raise InvalidMessage("the text is the same as the trigger: choose two different ones")


def _encode(tokenizer: Tokenizer, name: str, value: str) -> list[int]:
    ids = list(tokenizer.encode(value, add_special_tokens=False))
    if any(i in tokenizer.all_special_ids for i in ids):
        raise InvalidMessage(f"the {name} contains a special token of the model: take it out")
    if tokenizer.decode(ids, clean_up_tokenization_spaces=False) != value:
        raise InvalidMessage(f"the model's tokenizer cannot write the {name} back unchanged: use plainer characters")
    return ids
