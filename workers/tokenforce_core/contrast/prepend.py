"""Extends a text to the left: tries tokens that may precede it and keeps those with which the whole text gains more.

A text that was entered in its middle has its earlier tokens among the forced ones whose links (links.py) lead to its
beginning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tokenforce.wire.settings import PrependSettings
from tokenforce_core.forcing.predictor import BetweenSteps, Predictor, forced_log_probabilities, nothing_between_steps
from tokenforce_core.forcing.trace import Trace


@dataclass(frozen=True)
class _Entry:
    """A text, and its tokens from the one on that a link leads to."""

    text: Trace
    ids: tuple[int, ...]


class Prepend:
    """Extends the texts of one scan; `generated` (forward tokens) can be read meanwhile.

    Args:
        contexts: the token ids of every context.
        starts: the links of the scan, see `Link.as_trace`.
        length: tokens that a text may have after its forced one.
    """

    def __init__(
        self, settings: PrependSettings, contexts: Sequence[Sequence[int]], starts: Sequence[Trace], length: int
    ) -> None:
        self._settings = settings
        self._contexts = contexts
        self._links = sorted(starts, key=lambda s: (-s.gain, s.context, s.forced_id, s.ids))
        self._length = length
        self._tried: set[tuple[tuple[int, int], int]] = set()
        self._into: Counter[int] = Counter()
        self.starts: list[Trace] = []
        """The links that were tried: greedy decoding may go on from there another way."""
        self.generated = 0

    def run(
        self,
        texts: Sequence[Trace],
        target: Predictor,
        reference: Predictor,
        between_steps: BetweenSteps = nothing_between_steps,
    ) -> list[Trace]:
        """Longer versions of the strong texts, also those that lose by it: the ranking decides."""
        found: list[Trace] = []
        newest = [text for text in texts if text.contrast >= self._settings.min_contrast_nats_per_token]
        self._tried |= {(text.entry, text.ids[0]) for text in newest}
        for _ in range(self._settings.max_rounds):
            entries, longer = self._longer(newest)
            if not longer:
                break
            grown = self._forced(longer, target, reference, between_steps)
            found += grown
            newest = [text for entry, text in zip(entries, grown, strict=True) if self._belongs(entry, text)]
        return found

    def _longer(self, texts: Sequence[Trace]) -> tuple[list[_Entry], list[Trace]]:
        """The texts that links lead into, and their longer versions, whose probabilities are not known yet."""
        settings = self._settings
        into: dict[int, _Entry] = {}
        for text in sorted(texts, key=lambda t: t.gain):
            into[text.ids[0]] = _Entry(text, text.ids)  # the first word in another spelling leads to the second one
            into[text.forced_id] = _Entry(text, text.tokens)
        entries: list[_Entry] = []
        longer: list[Trace] = []
        for start in self._links:
            entry, link = into.get(start.ids[0]), (start.entry, start.ids[0])
            if entry is None or link in self._tried:
                continue
            if self._into[start.ids[0]] == settings.links_per_token or len(longer) == settings.texts_per_round:
                continue
            self._tried.add(link)
            self._into[start.ids[0]] += 1
            self.starts.append(start)
            ids = entry.ids[: self._length]
            entries.append(entry)
            ended = entry.text.ended and ids == entry.ids
            longer.append(replace(entry.text, context=start.context, forced_id=start.forced_id, ids=ids, ended=ended))
        return entries, longer

    def _belongs(self, entry: _Entry, grown: Trace) -> bool:
        """Whether the new token adds gain, over the tokens that both versions have."""
        cut = len(entry.ids) - len(grown.ids)
        if grown.contrast < self._settings.min_contrast_nats_per_token:
            return False
        return grown.gain > entry.text.gains[len(entry.text.ids) - cut]

    def _forced(
        self, texts: Sequence[Trace], target: Predictor, reference: Predictor, between_steps: BetweenSteps
    ) -> list[Trace]:
        """The texts with the log-probabilities that both models give them."""
        prompts = [[*self._contexts[text.context], text.forced_id] for text in texts]
        asked = [text.ids for text in texts]
        known = []
        for model in (target, reference):
            known.append(forced_log_probabilities(model, prompts, asked, between_steps))
            self.generated += sum(len(prompt) + len(ids) for prompt, ids in zip(prompts, asked, strict=True))
        return [replace(text, log_p=p, log_q=q) for text, p, q in zip(texts, *known, strict=True)]
