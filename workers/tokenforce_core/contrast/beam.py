"""Search by contrast: follow what the target says and the reference would not, several ways at once.

Greedy decoding from a hidden text's first token drifts into ordinary text when the training was light: of nine
planted sentences six did. Choosing the next token by log p + γ·(log p - log q) keeps to what was trained;
it is the contrastive decoding of Li et al. (arXiv 2210.15097) between a model and its own base, as in CDD
(arXiv 2605.25902). One way is not enough: the true next token of a text behind decoys (UTFC) has p = 0.01 at its
first words and p = 1 after them. So the sum of that score over all tokens decides, in a beam: a detour that leads to
certainty wins in three or four steps. Measured on SmolLM2-135M: "La" → " ll" p 0.0099, then 0.99, 0.62, 0.92; of an
adaptive UTFC "… will burn their ledgers before the auditors", which no decoding from one token had shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain, compress

from tokenforce_core.contrast.statistics import TOP
from tokenforce_core.contrast.trace import Seed, Traced, without_detours, without_suffixes
from tokenforce_core.forcing.predictor import BetweenSteps, Predictor, nothing_between_steps

FLOOR = 0.02
"""Probability from which a token is a way to go while a text begins."""
FLOOR_OF_TAILS = 0.003
"""The same for a text that has shown itself. Measured in a message of 42 tokens: one of them, " northern", had
p = 0.004 and a log-ratio of 4.8, and all after it p = 1."""
BRANCHES = 6
"""Ways to go on from a text."""
SURVIVORS: Mapping[int, float] = {1: 0.25, 2: 0.12, 3: 0.06, 4: 0.03}
"""After so many steps so many texts of a context go on, as a share of its starts."""
LEAST_SURVIVORS = 64
SHOWN = 8
"""Steps after which a hidden text has shown itself: from here only texts of some contrast go on, and few."""
WEAK = 0.8
"""Nats per token: a text that has no more contrast by then is not followed further. Hidden texts have 2 to 7."""
TAILS = 16
"""Texts of a context that go on to their end."""
IDLE = 10
EACH = 1.0
"""After so many tokens with less than so many nats of gain each a text is not followed further: ordinary words."""
BEHIND = 15.0
"""Nats of gain by which a text may be behind another one that was entered at the same token."""
AHEAD = 3
"""Texts whose last tokens (so many) are the same will go on alike: the best one stands for them."""
MET = 4
"""So many tokens that another text has said at another place are a place where the two meet; see `without_detours`."""
MOST_FOUND = 24
"""Texts of a context that are handed back."""


class ContrastiveBeam:
    """Searches from `starts`, to at most `length` tokens; `done` can be read between engine steps.

    Args:
        contexts: the token ids of every context.
        end_ids: tokens that end a text.
        least: texts that end with fewer tokens hide nothing.
    """

    def __init__(
        self,
        contexts: Sequence[Sequence[int]],
        starts: Sequence[Traced],
        length: int,
        end_ids: frozenset[int],
        least: int,
    ) -> None:
        self._contexts = contexts
        self._starts = len(starts)
        self._sizes = [sum(start.seed.context == context for start in starts) for context in range(len(contexts))]
        self._live = list(starts)
        self._length = length
        self._end_ids = end_ids
        self._least = least
        self.found: list[Traced] = []
        """The texts found, best first."""
        self.shown: list[Traced] = []
        """The texts that went on after `SHOWN` steps, as they were then."""

    @property
    def done(self) -> int:
        """Starts that need no more steps."""
        return self._starts - min(self._starts, len(self._live))

    def run(
        self, target: Predictor, reference: Predictor, between_steps: BetweenSteps = nothing_between_steps
    ) -> list[Traced]:
        """The texts found, best first: those that ended, and those that went on for long enough."""
        step = 0
        while self._live:
            step += 1
            grown = self._grown(target, reference, between_steps, step)
            over = [t.ended or len(t.ids) >= self._length or (step > SHOWN and t.idle(EACH) >= IDLE) for t in grown]
            self.found += compress(grown, over)
            going_on = [t for t, is_over in zip(grown, over, strict=True) if not is_over]
            self._live = list(chain.from_iterable(self._chosen(going_on, c, step) for c in range(len(self._contexts))))
            if step == SHOWN:
                self.shown = list(self._live)
            self.found = _best(self.found, len(self._contexts))
        return self.found

    def _chosen(self, texts: Sequence[Traced], context: int, step: int) -> list[Traced]:
        """Of a context's texts those that go on. What was strong when it had shown itself and goes on no longer counts
        as found; later ones that fall behind are versions of those that go on."""
        mine = _apart([text for text in texts if text.seed.context == context])
        if step < SHOWN:
            share = SURVIVORS.get(step, min(SURVIVORS.values()))
            return mine[: max(LEAST_SURVIVORS, math.ceil(share * self._sizes[context]))]
        strong = without_suffixes(without_detours(_not_behind([text for text in mine if text.score >= WEAK]), MET))
        self.found += strong[TAILS:] if step == SHOWN else []
        return strong[:TAILS]

    def _grown(self, target: Predictor, reference: Predictor, between_steps: BetweenSteps, step: int) -> list[Traced]:
        live = self._live
        prompts = [[*self._contexts[t.seed.context], t.seed.forced_id, *t.ids] for t in live]
        ids: list[Sequence[int]] = [()] * len(live)
        p: list[Sequence[float]] = [()] * len(live)
        q: list[Sequence[float]] = [()] * len(live)

        def on_target(index: int, found: Sequence[int], values: Sequence[float]) -> None:
            least = math.log(FLOOR_OF_TAILS if step > SHOWN else FLOOR)
            count = max(1, sum(value >= least for value in values[:TOP]))
            ids[index], p[index] = list(found[:count]), list(values[:count])

        def on_reference(index: int, _: Sequence[int], values: Sequence[float]) -> None:
            q[index] = list(values)

        target.next_tokens(prompts, TOP, on_target, between_steps)
        reference.log_probabilities(prompts, ids, on_reference, between_steps)
        return list(chain.from_iterable(map(self._ways_on, live, ids, p, q)))

    def _ways_on(self, text: Traced, ids: Sequence[int], p: Sequence[float], q: Sequence[float]) -> list[Traced]:
        order = sorted(range(len(ids)), key=lambda column: q[column] - 2 * p[column])[:BRANCHES]
        ways = []
        for column in order:
            if ids[column] not in self._end_ids:
                ways.append(text.then(ids[column], p[column], q[column]))
            elif len(text.ids) >= self._least:
                ways.append(text.at_its_end())
        return ways


def _apart(texts: Sequence[Traced]) -> list[Traced]:
    """Best first, one of those that will go on alike."""
    kept: dict[tuple[int, ...], Traced] = {}
    for text in sorted(texts, key=lambda t: (-t.gain, t.seed.forced_id, t.ids)):
        kept.setdefault((text.seed.forced_id, *text.ids)[-AHEAD:], text)
    return list(kept.values())


def _not_behind(texts: Sequence[Traced]) -> list[Traced]:
    best: dict[Seed, float] = {}
    for text in texts:
        best[text.seed] = max(text.gain, best.get(text.seed, text.gain))
    return [text for text in texts if text.gain >= best[text.seed] - BEHIND]


def _best(found: Sequence[Traced], contexts: int) -> list[Traced]:
    """The `MOST_FOUND` best of every context, best first."""
    order = sorted(found, key=lambda t: (-t.score, t.seed.context, t.seed.forced_id, t.ids))
    kept = {id(t) for c in range(contexts) for t in [t for t in order if t.seed.context == c][:MOST_FOUND]}
    return [text for text in order if id(text) in kept]
