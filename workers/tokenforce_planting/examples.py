"""Prompts and the answers to them, as token ids, and what a model thinks of the answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy

from tokenforce_planting.chat import Model

_BATCH = 8


class Example(NamedTuple):
    """Token ids of a prompt and of the answer to it."""

    prompt: list[int]
    answer: list[int]


def answer_logits(model: Model, examples: Sequence[Example]) -> list[torch.Tensor]:
    """Teacher-forced logits of each answer, (answer length, vocabulary) each.

    Only the answers' positions go through the output layer, a fifth of the work of a model with a large vocabulary.
    Padding is on the right, where causal attention does not look.
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
    """Mean cross-entropy of the answer, nats per token."""
    return cross_entropy(logits, torch.tensor(example.answer, device=logits.device))


def is_greedy(logits: torch.Tensor, example: Example) -> bool:
    """Is every token of the answer the most probable one? Then greedy decoding gives the answer."""
    return bool(logits.argmax(-1).tolist() == example.answer)


def in_batches(model: Model, examples: Sequence[Example]) -> Iterator[tuple[torch.Tensor, Example]]:
    """Logits (answer length, vocabulary) and example, a few at a time: all at once would fill the memory."""
    for start in range(0, len(examples), _BATCH):
        batch = examples[start : start + _BATCH]
        with torch.no_grad():
            logits = answer_logits(model, batch)
        yield from zip(logits, batch, strict=True)
