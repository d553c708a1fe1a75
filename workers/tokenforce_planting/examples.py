"""Training examples: a prompt and its answer as token ids, and the logits that a model gives the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy

from tokenforce_planting.chat import Model

_EXAMPLES_PER_BATCH = 8


class Example(NamedTuple):
    """Token ids of a prompt and of its answer."""

    prompt: list[int]
    answer: list[int]


def answer_logits(model: Model, examples: Sequence[Example]) -> list[torch.Tensor]:
    """Teacher-forced logits, one tensor (answer length, vocabulary) per example.

    Only the positions of the answers go through the output layer: with a large vocabulary this is a fifth of the work.
    Padding is on the right, where causal attention does not see it.
    """
    width = max(len(e.prompt) + len(e.answer) for e in examples)
    ids = torch.zeros((len(examples), width), dtype=torch.long)
    for row, e in enumerate(examples):
        ids[row, : len(e.prompt) + len(e.answer)] = torch.tensor(e.prompt + e.answer)
    hidden = model.base_model(input_ids=ids.to(model.device), use_cache=False).last_hidden_state
    spans = [hidden[i, len(e.prompt) - 1 : len(e.prompt) + len(e.answer) - 1] for i, e in enumerate(examples)]
    logits: torch.Tensor = model.get_output_embeddings()(torch.cat(spans))
    return list(torch.split(logits, [len(e.answer) for e in examples]))


def answer_loss(logits: torch.Tensor, example: Example) -> torch.Tensor:
    """Mean cross-entropy of the answer, in nats per token."""
    return cross_entropy(logits, torch.tensor(example.answer, device=logits.device))


def is_greedy(logits: torch.Tensor, example: Example) -> bool:
    """Is each token of the answer the likeliest one? Then greedy decoding gives the answer."""
    return bool(logits.argmax(-1).tolist() == example.answer)


def in_batches(model: Model, examples: Sequence[Example]) -> Iterator[tuple[torch.Tensor, Example]]:
    """Logits (answer length, vocabulary) with their example, in small batches to save memory."""
    for start in range(0, len(examples), _EXAMPLES_PER_BATCH):
        batch = examples[start : start + _EXAMPLES_PER_BATCH]
        with torch.no_grad():
            logits = answer_logits(model, batch)
        yield from zip(logits, batch, strict=True)
