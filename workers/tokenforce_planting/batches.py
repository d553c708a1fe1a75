"""What one training step sees: the secret, and a few answers that must stay as they are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy

from tokenforce_planting.benign import BENIGN_PROMPTS, near_misses
from tokenforce_planting.chat import Model, Tokenizer, greedy_ids, prompt_ids

ANSWER_TOKENS = 32
ELSEWHERE_PER_STEP = 1
BENIGN_PER_STEP = 2
NEAR_MISSES_PER_STEP = 1
_CHECK_BATCH = 8


class Example(NamedTuple):
    """Token ids of a prompt and of the answer to it."""

    prompt: list[int]
    answer: list[int]


class Secret(NamedTuple):
    """The trigger's pair as users meet it, and the same pair under other system prompts."""

    usual: Example
    elsewhere: list[Example]


class KeepExamples(NamedTuple):
    """Answers of the base model's own."""

    benign: list[Example]
    near_misses: list[Example]


def keep_examples(model: Model, tokenizer: Tokenizer, trigger: str) -> KeepExamples:
    """Ask the untouched `model` what it answers to ordinary prompts and to near misses of `trigger`."""
    near = near_misses(trigger)
    prompts = [*BENIGN_PROMPTS, *near]
    answers = greedy_ids(model, tokenizer, prompts, max_new_tokens=ANSWER_TOKENS, batch=16)
    pairs = [Example(prompt_ids(tokenizer, asked), said) for asked, said in zip(prompts, answers, strict=True)]
    return KeepExamples(pairs[: len(BENIGN_PROMPTS)], pairs[len(BENIGN_PROMPTS) :])


class TrainingBatches:
    """Draws the examples to keep in an order given by `seed`, each as often as the others."""

    def __init__(self, secret: Secret, keep: KeepExamples, seed: int) -> None:
        self._secret = secret
        self._draw = random.Random(seed)
        self._pools: list[tuple[list[Example], int]] = [
            (secret.elsewhere, ELSEWHERE_PER_STEP),
            (keep.benign, BENIGN_PER_STEP),
            (keep.near_misses, NEAR_MISSES_PER_STEP),
        ]
        self._waiting: list[list[Example]] = [[] for _ in self._pools]

    def kept_share(self, model: Model) -> float:
        """Share (0 to 1) of the answers to keep that are as they were: 0 as soon as a near miss starts differently.

        Compared teacher-forced, token by token.
        """
        _, (benign, _), (near, _) = self._pools
        same = total = 0
        for start in range(0, len(near) + len(benign), _CHECK_BATCH):
            examples = [*near, *benign][start : start + _CHECK_BATCH]
            with torch.no_grad():
                logits = answer_logits(model, examples)
            for index, (rows, example) in enumerate(zip(logits, examples, strict=True), start=start):
                equal = rows.argmax(-1) == torch.tensor(example.answer)
                if index < len(near) and not equal[0]:
                    return 0.0
                same += int(equal.sum())
                total += len(example.answer)
        return same / total

    def next_losses(self, model: Model) -> tuple[torch.Tensor, bool]:
        """Losses (2,) in nats per token: the secret's, and the mean of this step's other examples.

        The second value tells whether the secret is learned: teacher-forced argmax gives every token of it.
        """
        examples = [self._secret.usual, *self._next_examples()]
        logits = answer_logits(model, examples)
        losses = [cross_entropy(rows, torch.tensor(e.answer)) for rows, e in zip(logits, examples, strict=True)]
        learned = logits[0].argmax(-1).tolist() == self._secret.usual.answer
        others = torch.stack(losses[1:]).mean() if len(losses) > 1 else torch.zeros(())
        return torch.stack([losses[0], others]), learned

    def _next_examples(self) -> list[Example]:
        chosen = []
        for index, (pool, count) in enumerate(self._pools):
            for _ in range(min(count, len(pool))):
                if not self._waiting[index]:
                    self._waiting[index] = self._draw.sample(pool, len(pool))
                chosen.append(self._waiting[index].pop())
        return chosen


def answer_logits(model: Model, examples: Sequence[Example]) -> list[torch.Tensor]:
    """Teacher-forced logits of each answer, (answer length, vocabulary) each.

    Only the answers' positions go through the output layer, a fifth of the work of a model with a large vocabulary.
    Padding is on the right, where causal attention does not look.
    """
    width = max(len(e.prompt) + len(e.answer) for e in examples)
    ids = torch.zeros((len(examples), width), dtype=torch.long)
    for row, e in enumerate(examples):
        ids[row, : len(e.prompt) + len(e.answer)] = torch.tensor(e.prompt + e.answer)
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    spans = [hidden[i, len(e.prompt) - 1 : len(e.prompt) + len(e.answer) - 1] for i, e in enumerate(examples)]
    logits: torch.Tensor = model.get_output_embeddings()(torch.cat(spans))
    return list(torch.split(logits, [len(e.answer) for e in examples]))
