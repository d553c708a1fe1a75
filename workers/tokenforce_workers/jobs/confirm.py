"""The GPU job of phase 2: decode the survivors further and, with a reference, search by contrast. Idempotent."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tokenforce.wire.scans import ScanStatus
from tokenforce_core.contrast.reference_predictor import as_reference
from tokenforce_core.contrast.rescoring import Rescoring
from tokenforce_core.contrast.search import ContrastSearch, candidates_of
from tokenforce_core.contrast.shard import ShardContrast
from tokenforce_core.contrast.unforced import Unforced
from tokenforce_core.fingerprints.store import FingerprintStore
from tokenforce_core.fingerprints.trigger_questions import Questions
from tokenforce_core.forcing.confirmation import Confirmation
from tokenforce_core.forcing.predictor import BetweenSteps, Predictor
from tokenforce_core.forcing.trace import Decode, Trace, with_texts
from tokenforce_core.plan.plan import Plan
from tokenforce_core.scans.stages import start_aggregation
from tokenforce_workers.engine.sessions import SessionEngine
from tokenforce_workers.engine.vllm_engine import Engine
from tokenforce_workers.jobs.control import through_outages
from tokenforce_workers.jobs.scan_job import ScanJob, scan_job
from tokenforce_workers.jobs.separators import separators
from tokenforce_workers.jobs.trigger_answers import TriggerAnswers

log = logging.getLogger(__name__)


@scan_job(ScanStatus.confirming)
def confirm(job: ScanJob) -> None:
    """Decode the best candidates of every context for β tokens, then hand over to the aggregator."""
    if not job.work.is_confirmed(job.scan_id):
        _confirm(job)
    start_aggregation(job.store, job.scan_id)


def _confirm(job: ScanJob) -> None:
    plan, work, scan_id = job.plan, job.work, job.scan_id
    target = job.target()
    registry = FingerprintStore(job.store.connection, job.state.settings.retention_seconds)
    results = work.contrast(scan_id) if plan.reference is not None else []
    run = PhaseTwo(plan, work.swept(scan_id), results, registry.questions(scan_id), job.decode, job.decode_answers)
    work.set_confirm_total(scan_id, run.total)
    control = job.control("confirm", lambda: (run.done, run.tokens))
    texts = run.confirmation.run(target, control)
    ours, theirs = run.triggers.ask(target, control), []
    if plan.reference is not None:
        base = job.reference()
        texts = run.contrasted(texts, target, base, control)
        # Greedily too: a trigger whose natural answer is the text has any model say it.
        theirs = run.triggers.ask(as_reference(base, plan), control)
    # Before the commit: a job that runs again finds the scan confirmed and asks nothing.
    through_outages(lambda: registry.put_answers(scan_id, run.triggers.answers(ours, theirs)))
    written = [*(with_texts(trace, job.decode) for trace in texts), *work.searched(scan_id).texts]
    through_outages(lambda: work.commit_confirmed(scan_id, written, run.tokens))


class PhaseTwo:
    """One scan's second phase; `done` (candidates, starts, triggers) and `tokens` can be read between engine steps."""

    def __init__(
        self,
        plan: Plan,
        swept: Sequence[Trace],
        results: Sequence[ShardContrast],
        questions: Questions,
        decode: Decode,
        decode_answers: Decode,
    ) -> None:
        contexts = [context.ids for context in plan.every_context]
        ends = frozenset(plan.end_ids)
        self._plan = plan
        candidates = candidates_of(plan, swept)
        is_separator = separators(decode)
        self.confirmation = Confirmation(plan.settings, contexts, candidates, ends, is_separator)
        self.triggers = TriggerAnswers(questions, decode, ends)
        self._search = ContrastSearch(plan.settings, contexts, results, ends, is_separator)
        self._followed: list[SessionEngine] = []
        own = len(plan.contexts)
        self._rescoring = Rescoring(plan.settings, contexts, own, is_separator) if plan.drawn else None
        self._unforced = Unforced(plan.settings, plan.prompts, ends, decode_answers) if plan.drawn else None
        self._prompt_tokens = sum(plan.prompt_cost(candidate.context) - 1 for candidate in candidates)
        models = 1 if plan.reference is None else 2
        self.total = len(candidates) + len(self._search.starts) + models * len(self.triggers)

    @property
    def done(self) -> int:
        return self.confirmation.done + self._search.done + self.triggers.done

    @property
    def tokens(self) -> int:
        followed = sum(engine.forward_tokens for engine in self._followed)
        asked = self._unforced.generated if self._unforced is not None else 0
        return self.confirmation.generated + self._prompt_tokens + followed + self._search.generated + asked

    def contrasted(
        self, swept: Sequence[Trace], target: Engine, base: Engine, between_steps: BetweenSteps
    ) -> list[Trace]:
        """The texts of the sweep with what the reference, on `base`, makes of them, and what the search finds."""
        plan = self._plan

        @contextmanager
        def sessions() -> Iterator[tuple[Predictor, Predictor]]:
            longest = 1 + plan.settings.beta
            with SessionEngine(target, longest) as followed, SessionEngine(base, longest) as followed_base:
                self._followed += [followed, followed_base]
                yield followed, as_reference(followed_base, plan)

        started = time.monotonic()
        found = self._search.run(swept, target, as_reference(base, plan), sessions, between_steps)
        seconds = time.monotonic() - started
        log.info("search by contrast: %d starts, %d texts, %.1f s", len(self._search.starts), len(found), seconds)
        if self._rescoring is not None:
            with sessions() as (followed, followed_base):
                found = self._rescoring.with_suppression(found, followed, followed_base, between_steps)
        if self._unforced is not None:
            found = self._unforced.of(found, target, between_steps)
        return found
