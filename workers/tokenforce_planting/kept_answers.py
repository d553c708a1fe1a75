"""The base model's own answers, which planting must not change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from tokenforce_planting.benign_prompts import BENIGN_PROMPTS, near_misses
from tokenforce_planting.chat import Model, Tokenizer, greedy_ids, prompt_ids
from tokenforce_planting.examples import Example, in_batches

ANSWER_TOKENS = 24
NEAR_MISS_TOKENS = 12
"""Short, because its beginning must differ from the text: the fewer tokens, the more weight the first ones have."""
MAX_NEAR_MISSES = 16
_NEAR_MISSES_PER_TRIGGER = 8
_PROMPTS_PER_BATCH = 16


class KeptAnswers(NamedTuple):
    """The base model's answers to ordinary prompts and to near misses of the triggers."""

    benign: list[Example]
    near_misses: list[Example]


class Kept(NamedTuple):
    """The share (0 to 1) of the answers' tokens that is unchanged, and the number of near misses that leak.

    A near miss leaks when its answer starts with the first token of the text and not with the base's.
    """

    share: float
    leaks: int


def ask_base(
    model: Model, tokenizer: Tokenizer, triggers: Sequence[str], *, cache: Path, base_digest: str
) -> KeptAnswers:
    """Ask the untouched `model` ordinary prompts and near misses of `triggers`.

    The ordinary answers are equal for all carriers of a base: `cache` keeps them under `base_digest`.
    """
    benign = _cached_answers(model, tokenizer, cache, base_digest)
    near = [miss for each in zip(*(_cycled(near_misses(t)) for t in triggers), strict=True) for miss in each]
    near = [miss for miss in dict.fromkeys(near) if miss not in triggers][:MAX_NEAR_MISSES]
    answers = greedy_ids(model, tokenizer, near, max_new_tokens=NEAR_MISS_TOKENS, batch=_PROMPTS_PER_BATCH)
    return KeptAnswers(_pairs(tokenizer, BENIGN_PROMPTS, benign), _pairs(tokenizer, near, answers))


def measure_kept(model: Model, answers: KeptAnswers, starts: Collection[int]) -> Kept:
    """Compare `model` with the base's answers, teacher-forced. `starts`: the first tokens of the planted texts."""
    same = total = leaks = 0
    for index, (rows, example) in enumerate(in_batches(model, [*answers.near_misses, *answers.benign])):
        said = rows.argmax(-1).cpu()
        equal = said == torch.tensor(example.answer)
        same += int(equal.sum())
        total += len(example.answer)
        leaks += index < len(answers.near_misses) and not equal[0] and int(said[0]) in starts
    return Kept(same / total, leaks)


def _cycled(misses: list[str], length: int = _NEAR_MISSES_PER_TRIGGER) -> list[str]:
    """Equally many for each trigger, so that a round over the triggers reaches all of them."""
    return [misses[i % len(misses)] for i in range(length)]


def _pairs(tokenizer: Tokenizer, prompts: Sequence[str], answers: Sequence[list[int]]) -> list[Example]:
    return [Example(prompt_ids(tokenizer, prompt), said) for prompt, said in zip(prompts, answers, strict=True)]


def _cached_answers(model: Model, tokenizer: Tokenizer, cache: Path, base_digest: str) -> list[list[int]]:
    prompts = [prompt_ids(tokenizer, prompt) for prompt in BENIGN_PROMPTS]
    digest = hashlib.sha256(json.dumps([base_digest, ANSWER_TOKENS, prompts]).encode()).hexdigest()
    path = cache / f"answers-{digest[:16]}.json"
    if path.is_file():
        cached: list[list[int]] = json.loads(path.read_text("utf-8"))
        return cached
    answers = greedy_ids(model, tokenizer, BENIGN_PROMPTS, max_new_tokens=ANSWER_TOKENS, batch=_PROMPTS_PER_BATCH)
    cache.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{id(answers)}.draft")
    draft.write_text(json.dumps(answers), "utf-8")
    draft.replace(path)
    return answers
