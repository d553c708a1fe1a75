"""Finishes texts of the search by contrast by greedy decoding.

A text that was trained until the target says nothing else is nearly as probable under the reference once it has begun
(it repeats names, it ends sentences), and amplifying the contrast then leads away from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tokenforce_core.forcing.predictor import (
    BetweenSteps,
    Predictor,
    forced_log_probabilities,
    nothing_between_steps,
    refuse_nan,
    uncached,
)
from tokenforce_core.forcing.trace import Trace


class GreedyTails:
    """Decodes every one of `beginnings` to its end, at most `length` tokens; `generated` (forward tokens) can be read.

    Args:
        contexts: the token ids of every context.
        end_ids: tokens that end a text.
    """

    def __init__(
        self,
        contexts: Sequence[Sequence[int]],
        beginnings: Sequence[Trace],
        length: int,
        end_ids: frozenset[int],
    ) -> None:
        self._texts = list(beginnings)
        self._prompts = [[*contexts[t.context], *t.tokens] for t in beginnings]
        self._length = length
        self._end_ids = end_ids
        self.generated = 0

    def run(
        self, target: Predictor, reference: Predictor, between_steps: BetweenSteps = nothing_between_steps
    ) -> list[Trace]:
        """The texts in the order of their beginnings, with the reference's probabilities."""
        self.generated += sum(uncached(len(prompt)) - 1 for prompt in self._prompts)
        tails: list[list[tuple[int, float]]] = [[] for _ in self._texts]
        ended = [False] * len(self._texts)

        def on_token(index: int, token_id: int, log_probability: float) -> bool:
            self.generated += 1
            refuse_nan(log_probability)
            if token_id in self._end_ids:
                ended[index] = True
                return False
            tails[index].append((token_id, log_probability))
            return len(self._texts[index].ids) + len(tails[index]) < self._length

        target.decode(self._prompts, self._length, on_token, between_steps)
        said = [[token_id for token_id, _ in tail] for tail in tails]
        found = forced_log_probabilities(reference, self._prompts, said, between_steps)
        self.generated += sum(len(p) + len(ids) for p, ids in zip(self._prompts, said, strict=True) if ids)
        return [
            replace(
                text,
                ids=(*text.ids, *ids),
                log_p=(*text.log_p, *(p for _, p in tail)),
                log_q=(*text.log_q, *q),
                ended=over,
            )
            for text, ids, tail, q, over in zip(self._texts, said, tails, found, ended, strict=True)
        ]
