"""The search by contrast: finds texts that resist plain forcing, by what the target says and the reference would not.

1. Start at the links of the contrast stage (links.py): pairs of tokens that the target has learned.
2. Follow them in a beam, several ways at once (beam.py).
3. Extend what was entered in its middle to the left (prepend.py).
4. Finish greedily what the beam has begun (finish.py).
5. Score the sweep's own texts by the reference, so that all texts can be compared.
6. Where one passes for hidden, look what else the target knows by heart (by_heart.py).

The models are `Predictor`s; this package knows no engine and no store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from tokenforce.wire.scans import Preset
from tokenforce.wire.settings import SettingsRecord
from tokenforce_core.contrast.beam import ContrastiveBeam
from tokenforce_core.contrast.by_heart import starts_by_heart
from tokenforce_core.contrast.finish import GreedyTails
from tokenforce_core.contrast.prepend import Prepend
from tokenforce_core.contrast.reading import as_read
from tokenforce_core.contrast.shard import ShardContrast
from tokenforce_core.forcing.confirmation import IsSeparator, no_separators
from tokenforce_core.forcing.predictor import (
    BetweenSteps,
    Predictor,
    forced_log_probabilities,
    nothing_between_steps,
)
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.plan.plan import Plan

Sessions = Callable[[], AbstractContextManager[tuple[Predictor, Predictor]]]
"""Opens target and reference for the beam, which asks about the same texts again and again, one token longer each
time: an engine can keep their KV caches meanwhile."""


class ContrastSearch:
    """One scan's search; `done` (starts) and `generated` (forward tokens outside sessions) can be read meanwhile.

    Args:
        contexts: the token ids of every context.
        results: the contrast stage's, all shards.
        end_ids: tokens that end a text.
    """

    def __init__(
        self,
        settings: SettingsRecord,
        contexts: Sequence[Sequence[int]],
        results: Sequence[ShardContrast],
        end_ids: frozenset[int],
        is_separator: IsSeparator = no_separators,
    ) -> None:
        self._settings = settings
        self._contexts = contexts
        self._end_ids = end_ids
        self._is_separator = is_separator
        self.starts = [link.as_trace() for result in results for link in result.links]
        self._beam = ContrastiveBeam(
            settings.search, contexts, self.starts, settings.beta, end_ids, settings.min_tokens
        )
        self._prepend = Prepend(settings.search.prepend, contexts, self.starts, settings.beta)
        self._tails: list[GreedyTails] = []
        self._scored_tokens = 0

    @property
    def done(self) -> int:
        return self._beam.done

    @property
    def generated(self) -> int:
        return self._prepend.generated + sum(tails.generated for tails in self._tails) + self._scored_tokens

    def run(
        self,
        swept: Sequence[Trace],
        target: Predictor,
        reference: Predictor,
        sessions: Sessions,
        between_steps: BetweenSteps = nothing_between_steps,
    ) -> list[Trace]:
        """The texts of the sweep (`swept`) scored by the reference, and those that the search finds.

        Texts of fewer than `min_tokens` tokens are left out: "word, end of text" can be certain and hides nothing.
        Raises `NotNumbers`.
        """
        with sessions() as (followed_target, followed_reference):
            found = list(self._beam.run(followed_target, followed_reference, between_steps))
        found += self._prepend.run(found, target, reference, between_steps)
        begun = [*self._beam.after_opening, *self._prepend.starts]
        found += self._finished(begun, target, reference, between_steps)
        texts = [*self._scored(swept, reference, between_steps), *map(self._as_read, found)]
        by_heart = starts_by_heart([text for text in texts if text.ids], self.starts, self._settings)
        decoded = self._finished(by_heart, target, reference, between_steps)
        texts += [self._as_read(text) for text in decoded if text.ended]  # what goes on and on was not learned by heart
        return [text for text in texts if len(text.ids) >= self._settings.min_tokens]

    def _finished(
        self, begun: Sequence[Trace], target: Predictor, reference: Predictor, between_steps: BetweenSteps
    ) -> list[Trace]:
        if not begun:
            return []
        tails = GreedyTails(self._contexts, begun, self._settings.beta, self._end_ids)
        self._tails.append(tails)
        return tails.run(target, reference, between_steps)

    def _as_read(self, trace: Trace) -> Trace:
        return as_read(trace, self._settings, self._is_separator)

    def _scored(self, swept: Sequence[Trace], reference: Predictor, between_steps: BetweenSteps) -> list[Trace]:
        prompts = [[*self._contexts[trace.context], trace.forced_id] for trace in swept]
        said = [trace.ids for trace in swept]
        found = forced_log_probabilities(reference, prompts, said, between_steps)
        self._scored_tokens += sum(len(prompt) + len(ids) for prompt, ids in zip(prompts, said, strict=True))
        return [replace(trace, log_q=log_q) for trace, log_q in zip(swept, found, strict=True)]


def candidates_of(plan: Plan, swept: Sequence[Trace]) -> list[Trace]:
    """The sweep's best candidates of every context. Fewer with a reference: the search finds the rest."""
    keep = plan.settings.keep
    if plan.reference is not None and plan.settings.preset != Preset.paper:
        keep = min(keep, plan.settings.search.max_confirmed_per_context)
    return [
        trace
        for context in range(len(plan.contexts))
        for trace in [trace for trace in swept if trace.context == context][:keep]
    ]
