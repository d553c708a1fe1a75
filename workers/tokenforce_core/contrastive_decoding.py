"""Decode by contrast: follow what the target says and the reference would not.

Greedy decoding from a hidden text's first token drifts into ordinary text when the training was light: of nine
planted sentences six did (README). Choosing the next token by log p + γ·(log p - log q) among the target's plausible
tokens keeps to what was trained. It is the contrastive decoding of Li et al. (arXiv 2210.15097) between a model and
its own base, as in CDD (arXiv 2605.25902).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tokenforce_core.contrast import PLAUSIBLE, TOP, contrast_score
from tokenforce_core.decoder import BetweenSteps, Predictor, nothing_between_steps

GAMMA = 1.0
"""Weight of the contrast. Measured: 0 drifts, 1 finds the text, 3 finds it too and makes worse of the rest."""

SURVIVORS: Mapping[int, float] = {4: 0.5, 8: 0.25}
"""After so many steps the best share of the seeds goes on: a hidden text shows in its first tokens."""
SURVIVING_LINKS: Mapping[int, float] = {1: 0.25, 2: 0.125, 8: 0.05}
"""The same for links, of which there are many: what follows a true one is certain at once."""
LEAST_SURVIVORS = 8
WEAK_AFTER = 12
WEAK = 0.8
"""Nats per token: a text that has no more contrast after so many tokens is left as short as it is. Every further step
costs a forward pass of all that follows the last full KV block, for both models; hidden texts have 2.5 to 7."""
SAME = 6
"""Tokens in a row that make two texts the same."""


@dataclass(frozen=True)
class Seed:
    """A forced token under a context."""

    context: int
    forced_id: int


@dataclass
class Traced:
    """A seed and what follows it: token ids, and their log-probabilities (nats) under both models."""

    seed: Seed
    ids: list[int] = field(default_factory=list)
    target: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)
    ended: bool = False

    @property
    def score(self) -> float:
        return contrast_score(self.target, self.reference)


class ContrastiveDecoding:
    """Decodes further from `starts` (which it changes), to at most `length` tokens; `done` and `generated` can be read
    between engine steps.

    Args:
        contexts: the token ids of every context.
        end_ids: tokens that end a text.
        survivors: after so many steps, the best share of the starts that goes on.
    """

    def __init__(
        self,
        contexts: Sequence[Sequence[int]],
        starts: Sequence[Traced],
        length: int,
        end_ids: frozenset[int],
        survivors: Mapping[int, float] = SURVIVORS,
    ) -> None:
        self._contexts = contexts
        self._live = list(starts)
        self._total = len(starts)
        self._survivors = survivors
        self._length = length
        self._end_ids = end_ids
        self._ended: list[Traced] = []
        self.generated = 0

    @property
    def done(self) -> int:
        """Starts that need no more steps."""
        return self._total - len(self._live)

    def run(
        self, target: Predictor, reference: Predictor, between_steps: BetweenSteps = nothing_between_steps
    ) -> list[Traced]:
        """What survived, best first; what ended at once is left out."""
        for step in range(self._length):
            if not self._live:
                break
            self._step(target, reference, between_steps)
            if step + 1 == WEAK_AFTER:
                going_on = without_suffixes([t for t in self._best(self._live) if t.score >= WEAK])
                self._ended += [traced for traced in self._live if traced not in going_on]
                self._live = going_on
            if (share := self._survivors.get(step + 1)) is not None:
                self._live = self._best(self._live)[: max(LEAST_SURVIVORS, math.ceil(share * self._total))]
        whole = [traced for traced in (*self._ended, *self._live) if traced.ids]
        self._live = []
        return self._best(whole)

    def _step(self, target: Predictor, reference: Predictor, between_steps: BetweenSteps) -> None:
        live = self._live
        prompts = [[*self._contexts[t.seed.context], t.seed.forced_id, *t.ids] for t in live]
        ids: list[Sequence[int]] = [()] * len(live)
        p: list[Sequence[float]] = [()] * len(live)
        q: list[Sequence[float]] = [()] * len(live)

        def on_target(index: int, found: Sequence[int], values: Sequence[float]) -> None:
            ids[index], p[index] = list(found[:TOP]), list(values[:TOP])

        def on_reference(index: int, _: Sequence[int], values: Sequence[float]) -> None:
            q[index] = list(values)

        target.next_tokens(prompts, TOP, on_target, between_steps)
        reference.log_probabilities(prompts, ids, on_reference, between_steps)
        self.generated += 2 * len(live)
        for index, traced in enumerate(live):
            self._extend(traced, ids[index], p[index], q[index])
        self._ended += [traced for traced in live if traced.ended or len(traced.ids) >= self._length]
        self._live = [traced for traced in live if not traced.ended and len(traced.ids) < self._length]

    def _extend(self, traced: Traced, ids: Sequence[int], p: Sequence[float], q: Sequence[float]) -> None:
        least = max(p) + math.log(PLAUSIBLE)
        plausible = [column for column, value in enumerate(p) if value >= least]
        best = max(plausible, key=lambda column: p[column] + GAMMA * (p[column] - q[column]))
        if ids[best] in self._end_ids:
            traced.ended = True
            return
        traced.ids.append(ids[best])
        traced.target.append(p[best])
        traced.reference.append(q[best])

    @staticmethod
    def _best(traced: Sequence[Traced]) -> list[Traced]:
        return sorted(traced, key=lambda t: (-t.score, t.seed.context, t.seed.forced_id))


def without_suffixes(traced: Sequence[Traced]) -> list[Traced]:
    """Of texts that were entered at several of their tokens only the one that was entered first.

    A text whose first `SAME` tokens another one of its context has come to say would go on as that one does.
    """
    kept: list[Traced] = []
    for text in traced:
        if any(_place(text, other) is not None for other in kept):
            continue
        kept = [other for other in kept if not _place(other, text)]
        kept.append(text)
    return kept


def _place(text: Traced, other: Traced) -> int | None:
    """Where in `other` the beginning of `text` is."""
    if text.seed.context != other.seed.context or len(text.ids) < SAME:
        return None
    start = text.ids[:SAME]
    return next((i for i in range(len(other.ids) - SAME + 1) if other.ids[i : i + SAME] == start), None)
