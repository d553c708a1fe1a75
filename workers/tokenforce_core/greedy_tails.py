"""Finish texts greedily that the search by contrast has begun.

A text that was trained until the target says nothing else is nearly as probable under the reference once it has begun
(it repeats names, it ends sentences), and amplifying the contrast then leads away from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tokenforce_core.decoder import BetweenSteps, Predictor, nothing_between_steps, number
from tokenforce_core.traced import Traced


class GreedyTails:
    """Decodes every one of `beginnings` to its end, at most `length` tokens; `generated` can be read meanwhile.

    Args:
        contexts: the token ids of every context.
        end_ids: tokens that end a text.
    """

    def __init__(
        self,
        contexts: Sequence[Sequence[int]],
        beginnings: Sequence[Traced],
        length: int,
        end_ids: frozenset[int],
    ) -> None:
        self._texts = list(beginnings)
        self._prompts = [[*contexts[t.seed.context], t.seed.forced_id, *t.ids] for t in beginnings]
        self._length = length
        self._end_ids = end_ids
        self.generated = 0

    def run(
        self, target: Predictor, reference: Predictor, between_steps: BetweenSteps = nothing_between_steps
    ) -> list[Traced]:
        """The texts in the order of their beginnings, with the reference's probabilities."""
        tails: list[list[tuple[int, float]]] = [[] for _ in self._texts]
        ended = [False] * len(self._texts)

        def on_token(index: int, token_id: int, probability: float) -> bool:
            self.generated += 1
            number(probability)
            if token_id in self._end_ids:
                ended[index] = True
                return False
            tails[index].append((token_id, math.log(max(probability, 1e-30))))
            return len(self._texts[index].ids) + len(tails[index]) < self._length

        target.decode(self._prompts, self._length, on_token, between_steps)
        found: list[Sequence[float]] = [()] * len(self._texts)

        def on_reference(index: int, _: Sequence[int], values: Sequence[float]) -> None:
            found[index] = list(values)

        long = [i for i, tail in enumerate(tails) if tail]
        whole = [[*self._prompts[i], *(token_id for token_id, _ in tails[i])] for i in long]
        reference.teacher_forced(
            whole, [len(self._prompts[i]) for i in long], lambda i, ids, v: on_reference(long[i], ids, v), between_steps
        )
        self.generated += sum(len(tail) for tail in tails)
        return [
            Traced(
                text.seed,
                (*text.ids, *(token_id for token_id, _ in tail)),
                (*text.target, *(p for _, p in tail)),
                (*text.reference, *q),
                over,
            )
            for text, tail, q, over in zip(self._texts, tails, found, ended, strict=True)
        ]
