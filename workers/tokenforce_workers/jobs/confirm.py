"""The GPU job of phase 2: decode the survivors further, and what stands out against the reference. Idempotent."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from tokenforce.wire.scans import Preset, ScanStatus
from tokenforce_core.contrast.beam import ContrastiveBeam
from tokenforce_core.contrast.finish import GreedyTails
from tokenforce_core.contrast.prepend import LeftGrowth
from tokenforce_core.contrast.seeds import linked
from tokenforce_core.contrast.trace import Traced
from tokenforce_core.fingerprints.questions import Questions
from tokenforce_core.fingerprints.store import FingerprintStore
from tokenforce_core.forcing.confirmation import Confirmation, Confirmed, read
from tokenforce_core.forcing.predictor import BetweenSteps, NotNumbers, Predictor, forced_log_probabilities
from tokenforce_core.forcing.scoring import mean
from tokenforce_core.forcing.sweep import Candidate
from tokenforce_core.forcing.texts import ConfirmedText, confirmed_text
from tokenforce_core.plan.plan import Plan
from tokenforce_core.scans.stages import start_aggregation
from tokenforce_core.scans.store import Store
from tokenforce_core.scans.work_store import ContrastStore
from tokenforce_workers.engine.for_scan import (
    as_reference,
    decoder_of_ids,
    no_numbers,
    reference_engine,
    target_engine,
)
from tokenforce_workers.engine.sessions import Followed
from tokenforce_workers.engine.vllm_engine import Engine
from tokenforce_workers.engine.warm_engine import warm
from tokenforce_workers.jobs.control import Cancelled, Control, through_outages
from tokenforce_workers.jobs.trigger_answers import Audit

BESIDE_CONTRAST = 32
"""Candidates of a context that are confirmed with a reference, whose own search finds what is hidden: the others
would be what both models know by heart, at a third of the whole scan's time."""

log = logging.getLogger(__name__)


def confirm(scan_id: str) -> dict[str, int]:
    """Decode the best candidates of every context for β tokens, then hand over to the aggregator."""
    state = warm()
    store = state.store
    plan = store.plan(scan_id)
    if plan is None or store.status(scan_id) is not ScanStatus.confirming:
        return {}
    if store.confirmed(scan_id) is None:
        target = target_engine(state, plan, scan_id)
        if target is None:
            return {}
        registry = FingerprintStore(store.connection, state.settings.retention_seconds)
        run = PhaseTwo(plan, store, scan_id, registry.questions(scan_id))
        control = Control(state, scan_id, "confirm", lambda: (run.done, run.tokens))
        try:
            texts = run.confirmed(target, control)
            ours, theirs = run.audit.ask(target, control), []
            if plan.reference is not None:
                base = reference_engine(state, plan, scan_id)
                if base is None:
                    return {}
                texts = run.contrasted(texts, target, base, control)
                # Greedily too: a trigger whose natural answer is the text has any model say it.
                theirs = run.audit.ask(as_reference(base, plan), control)
        except Cancelled:
            return {}
        except NotNumbers:
            no_numbers(store, plan, scan_id, target.dtype)
            return {}
        # Before the commit: a job that runs again finds the scan confirmed and asks nothing.
        through_outages(lambda: registry.put_answers(scan_id, run.audit.answers(ours, theirs)))
        through_outages(lambda: store.commit_confirmed(scan_id, texts, run.tokens))
    start_aggregation(store, scan_id)
    return {"candidates": len(store.confirmed(scan_id) or [])}


class PhaseTwo:
    """One scan's second phase; `done` (candidates, seeds, questions) and `tokens` can be read between engine steps."""

    def __init__(self, plan: Plan, store: Store, scan_id: str, questions: Questions) -> None:
        self._plan = plan
        self._contexts = [context.ids for context in plan.contexts]
        self._ends = frozenset(plan.end_ids)
        self._decode = decoder_of_ids(plan)
        swept, keep = store.swept(scan_id), plan.settings.keep
        if plan.reference is not None and plan.settings.preset is not Preset.paper:
            keep = min(keep, BESIDE_CONTRAST)
        candidates = [
            item.candidate
            for context in range(len(plan.contexts))
            for item in [s for s in swept if s.candidate.context == context][:keep]
        ]
        self._confirmation = Confirmation(plan.settings, self._contexts, candidates, self._ends, self._separators())
        self._prompt_tokens = sum(plan.prompt_cost(candidate.context) - 1 for candidate in candidates)
        outcomes = ContrastStore(store.connection).results(scan_id) if plan.reference is not None else []
        self._starts = linked(outcomes)
        settings = plan.settings
        self._beam = ContrastiveBeam(self._contexts, self._starts, settings.beta, self._ends, settings.min_tokens)
        self._growth = LeftGrowth(self._contexts, self._starts, settings.beta)
        self._followed: tuple[Followed, ...] = ()
        self._tails: GreedyTails | None = None
        self._scored_tokens = 0
        self.audit = Audit(questions, self._decode, self._ends)
        models = 1 if plan.reference is None else 2
        store.set_confirm_total(scan_id, len(candidates) + len(self._starts) + models * len(self.audit))

    @property
    def done(self) -> int:
        return self._confirmation.done + self._beam.done + self.audit.done

    @property
    def tokens(self) -> int:
        searched = sum(engine.forward_tokens for engine in self._followed) + self._growth.generated
        finished = self._scored_tokens + (self._tails.generated if self._tails is not None else 0)
        return self._confirmation.generated + self._prompt_tokens + searched + finished

    def confirmed(self, target: Predictor, between_steps: BetweenSteps) -> list[ConfirmedText]:
        return [confirmed_text(item, self._decode) for item in self._confirmation.run(target, between_steps)]

    def contrasted(
        self, texts: Sequence[ConfirmedText], target: Engine, base: Engine, between_steps: BetweenSteps
    ) -> list[ConfirmedText]:
        """The texts with the probabilities that the reference, on `base`, gives them, and what the search finds."""
        reference = as_reference(base, self._plan)
        started = time.monotonic()
        longest = 1 + self._plan.settings.beta
        with Followed(target, longest) as followed, Followed(base, longest) as followed_base:
            self._followed = (followed, followed_base)
            asked = as_reference(followed_base, self._plan)
            traced = list(self._beam.run(followed, asked, between_steps))
        searched = time.monotonic()
        traced += self._growth.run(traced, target, reference, between_steps)
        begun = [*self._beam.shown, *self._growth.starts]
        self._tails = GreedyTails(self._contexts, begun, self._plan.settings.beta, self._ends)
        traced += self._tails.run(target, reference, between_steps)
        found = [*self._scored(texts, reference, between_steps), *(self._text_of(item) for item in traced)]
        seconds = searched - started, time.monotonic() - searched
        log.info(
            "search by contrast: %d starts, %.1f s; grown, finished and scored: %.1f s", len(self._starts), *seconds
        )
        # "word, end of text" can be as certain as it likes: it hides nothing.
        return [text for text in found if len(text.confirmed.probabilities) >= self._plan.settings.min_tokens]

    def _scored(
        self, texts: Sequence[ConfirmedText], reference: Predictor, between_steps: BetweenSteps
    ) -> list[ConfirmedText]:
        starts = [[*self._contexts[t.confirmed.candidate.context], t.confirmed.token_ids[0]] for t in texts]
        said = [text.confirmed.token_ids[1:] for text in texts]
        found = forced_log_probabilities(reference, starts, said, between_steps)
        self._scored_tokens += sum(len(start) + len(ids) for start, ids in zip(starts, said, strict=True))
        return [
            confirmed_text(text.confirmed, self._decode, _probabilities(values))
            for text, values in zip(texts, found, strict=True)
        ]

    def _text_of(self, traced: Traced) -> ConfirmedText:
        unread = Candidate(traced.seed.context, traced.seed.forced_id, (), (), 0.0, False)
        confirmed = read(
            unread, traced.ids, _probabilities(traced.target), traced.ended, self._plan.settings, self._separators()
        )
        confirmed = _restarted(confirmed, self._plan)
        return confirmed_text(confirmed, self._decode, _probabilities(traced.reference), by_contrast=True)

    def _separators(self) -> Callable[[int], bool]:
        decode = self._decode

        @cache
        def is_separator(token_id: int) -> bool:
            return not any(character.isalnum() for character in decode([token_id]))

        return is_separator


def _probabilities(log_probabilities: Sequence[float]) -> tuple[float, ...]:
    return tuple(min(1.0, math.exp(value)) for value in log_probabilities)


def _restarted(confirmed: Confirmed, plan: Plan) -> Confirmed:
    """With the start of its text as its candidate: a text that no sweep has scored."""
    alpha = plan.settings.alpha
    start = confirmed.probabilities[:alpha]
    candidate = replace(
        confirmed.candidate,
        token_ids=confirmed.token_ids[1 : alpha + 1],
        probabilities=start,
        score=mean(sum(start), len(start), plan.settings),
        ended=confirmed.ended and len(confirmed.probabilities) <= alpha,
    )
    return replace(confirmed, candidate=candidate)
