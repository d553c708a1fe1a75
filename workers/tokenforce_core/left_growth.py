"""Grow texts to the left: force what leads into them, and then what leads into that.

A text that was entered in its middle has its earlier tokens among the forced ones whose links (see `links`) lead to its
beginning. Whether one of them is such a token the models say themselves: with it the text as a whole gains more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tokenforce_core.contrast_shard import ShardContrast
from tokenforce_core.decoder import BetweenSteps, Predictor, nothing_between_steps
from tokenforce_core.seeds import linked
from tokenforce_core.traced import Seed, Traced

STRONG = 1.5
"""Contrast score (nats per token) from which a text is worth looking for what else leads into it."""
MOST_FORCED = 64
"""Texts that are forced in a scan, the largest ratios of each round first."""


class LeftGrowth:
    """Grows the texts of one scan by the links in `results`; `generated` can be read meanwhile.

    Args:
        contexts: the token ids of every context.
        length: tokens that a text may have after its forced one.
    """

    def __init__(self, contexts: Sequence[Sequence[int]], results: Sequence[ShardContrast], length: int) -> None:
        self._contexts = contexts
        self._links = sorted(linked(results), key=lambda s: (s.reference[0] - s.target[0], s.seed.context, s.ids))
        self._length = length
        self._tried: set[Seed] = set()
        self.starts: list[Traced] = []
        """What led into a text, with its second token: greedy decoding may go on from there another way."""
        self.generated = 0

    def run(
        self,
        texts: Sequence[Traced],
        target: Predictor,
        reference: Predictor,
        between_steps: BetweenSteps = nothing_between_steps,
    ) -> list[Traced]:
        """Longer versions of the strong ones among `texts`, whether they gain by it or not: ranking decides."""
        found: list[Traced] = []
        newest = [text for text in texts if text.score >= STRONG]
        self._tried |= {text.seed for text in newest}
        while longer := self._longer(newest):
            grown = self._forced([text for _, text in longer], target, reference, between_steps)
            found += grown
            newest = [
                text
                for text, (shorter, _) in zip(grown, longer, strict=True)
                if text.gain > shorter.gain and text.score >= STRONG
            ]
        return found

    def _longer(self, texts: Sequence[Traced]) -> list[tuple[Traced, Traced]]:
        """Pairs of a text and what it is with a token before it (its probabilities not yet known)."""
        entered: dict[int, tuple[Traced, tuple[int, ...]]] = {}
        for text in sorted(texts, key=lambda t: t.gain):
            if text.ids:  # the first word in another spelling leads to the second one
                entered[text.ids[0]] = text, text.ids
            entered[text.seed.forced_id] = text, text.beginning(len(text.ids))
        found = []
        for start in self._links:
            if start.ids[0] in entered and start.seed not in self._tried and len(self.starts) < MOST_FORCED:
                self._tried.add(start.seed)
                self.starts.append(start)
                text, ids = entered[start.ids[0]]
                found.append((text, replace(text, seed=start.seed, ids=ids[: self._length])))
        return found

    def _forced(
        self, texts: Sequence[Traced], target: Predictor, reference: Predictor, between_steps: BetweenSteps
    ) -> list[Traced]:
        """The texts with the log-probabilities that both models give them."""
        contexts = [self._contexts[text.seed.context] for text in texts]
        prompts = [[*ids, text.seed.forced_id, *text.ids] for ids, text in zip(contexts, texts, strict=True)]
        starts = [len(ids) + 1 for ids in contexts]
        known: list[list[tuple[float, ...]]] = []
        for model in (target, reference):
            values: list[tuple[float, ...]] = [()] * len(texts)

            def on_next(
                index: int, _: Sequence[int], found: Sequence[float], values: list[tuple[float, ...]] = values
            ) -> None:
                values[index] = tuple(found)

            model.teacher_forced(prompts, starts, on_next, between_steps)
            self.generated += sum(map(len, prompts))
            known.append(values)
        return [replace(text, target=p, reference=q) for text, p, q in zip(texts, known[0], known[1], strict=True)]
