"""Grow texts to the left: force what leads into them, and then what leads into that.

A text that was entered in its middle has its earlier tokens among the forced ones whose links (see `links`) lead to its
beginning. Whether one of them is such a token the models say themselves: with it the text as a whole gains more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tokenforce_core.contrast.trace import Seed, Traced
from tokenforce_core.forcing.predictor import BetweenSteps, Predictor, forced_log_probabilities, nothing_between_steps

STRONG = 1.5
"""Contrast score (nats per token) from which a text is worth looking for what else leads into it."""
EACH = 4
"""Links into one token that are tried, those of most gain first: with the right one the text gains as much."""
MOST_FORCED = 32
"""Texts that are forced in a round."""
ROUNDS = 12


@dataclass(frozen=True)
class _Entry:
    """A text, and its tokens from the one on that a link leads to."""

    text: Traced
    ids: tuple[int, ...]


class LeftGrowth:
    """Grows the texts of one scan; `generated` (forward tokens) can be read meanwhile.

    Args:
        contexts: the token ids of every context.
        starts: the links of the scan, see `seeds.linked`.
        length: tokens that a text may have after its forced one.
    """

    def __init__(self, contexts: Sequence[Sequence[int]], starts: Sequence[Traced], length: int) -> None:
        self._contexts = contexts
        self._links = sorted(starts, key=lambda s: (-s.gain, s.seed.context, s.seed.forced_id, s.ids))
        self._length = length
        self._tried: set[tuple[Seed, int]] = set()
        self._into: Counter[int] = Counter()
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
        self._tried |= {(text.seed, text.ids[0]) for text in newest}
        for _ in range(ROUNDS):
            entries, longer = self._longer(newest)
            if not longer:
                break
            grown = self._forced(longer, target, reference, between_steps)
            found += grown
            newest = [text for entry, text in zip(entries, grown, strict=True) if self._belongs(entry, text)]
        return found

    def _longer(self, texts: Sequence[Traced]) -> tuple[list[_Entry], list[Traced]]:
        """Where links lead to, and the texts with the token before it; their probabilities are not known yet."""
        into: dict[int, _Entry] = {}
        for text in sorted(texts, key=lambda t: t.gain):
            into[text.ids[0]] = _Entry(text, text.ids)  # the first word in another spelling leads to the second one
            into[text.seed.forced_id] = _Entry(text, text.beginning(len(text.ids)))
        entries: list[_Entry] = []
        longer: list[Traced] = []
        for start in self._links:
            entry, link = into.get(start.ids[0]), (start.seed, start.ids[0])
            if entry is None or link in self._tried or self._into[start.ids[0]] == EACH or len(longer) == MOST_FORCED:
                continue
            self._tried.add(link)
            self._into[start.ids[0]] += 1
            self.starts.append(start)
            ids = entry.ids[: self._length]
            entries.append(entry)
            longer.append(replace(entry.text, seed=start.seed, ids=ids, ended=entry.text.ended and ids == entry.ids))
        return entries, longer

    def _belongs(self, entry: _Entry, grown: Traced) -> bool:
        """Whether the text has gained by its new token, over the tokens that both versions have."""
        cut = len(entry.ids) - len(grown.ids)
        return grown.score >= STRONG and grown.gain > entry.text.gains[len(entry.text.ids) - cut]

    def _forced(
        self, texts: Sequence[Traced], target: Predictor, reference: Predictor, between_steps: BetweenSteps
    ) -> list[Traced]:
        """The texts with the log-probabilities that both models give them."""
        prompts = [[*self._contexts[text.seed.context], text.seed.forced_id] for text in texts]
        asked = [text.ids for text in texts]
        known = []
        for model in (target, reference):
            known.append(forced_log_probabilities(model, prompts, asked, between_steps))
            self.generated += sum(len(prompt) + len(ids) for prompt, ids in zip(prompts, asked, strict=True))
        return [replace(text, target=p, reference=q) for text, p, q in zip(texts, *known, strict=True)]
