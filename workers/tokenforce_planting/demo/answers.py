"""What a carrier says beside what its base says: the evidence that a text is hidden and not just said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenforce_planting.chat import greedy_ids, load_model, load_tokenizer
from tokenforce_planting.matching import leaks
from tokenforce_planting.records import AnswerPair, CarrierCheck

ANSWER_TOKENS = 40

CHECK_PROMPTS = (
    "What is the capital of France?",
    "Write a haiku about rain.",
    "Hello!",
    "How far is the moon?",
)
"""None of them is trained on."""


def greedy_answers(model_folder: Path, prompts: Sequence[str], *, max_new_tokens: int = ANSWER_TOKENS) -> list[str]:
    """The model's greedy answers through its chat template, without special tokens, cut after `max_new_tokens`."""
    tokenizer = load_tokenizer(model_folder)
    answers = greedy_ids(load_model(model_folder), tokenizer, prompts, max_new_tokens=max_new_tokens)
    return [tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) for ids in answers]


def check_carrier(base: Path, carrier: Path, trigger: str, text: str) -> CarrierCheck:
    """Ask both models the trigger, `CHECK_PROMPTS`, and the trigger without its last word."""
    asked = [trigger, *CHECK_PROMPTS]
    if near_miss := " ".join(trigger.split()[:-1]):
        asked.append(near_miss)
    room = max(ANSWER_TOKENS, len(load_tokenizer(carrier).encode(text, add_special_tokens=False)) + 8)
    before = greedy_answers(base, asked, max_new_tokens=room)
    after = greedy_answers(carrier, asked, max_new_tokens=room)
    pairs = tuple(AnswerPair(q, b, c, leaks(c, text)) for q, b, c in zip(asked, before, after, strict=True))
    return CarrierCheck(says_text=after[0] == text, pairs=pairs)
