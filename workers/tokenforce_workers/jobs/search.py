"""The GPU job that reads the weights, and follows what they were taught. Idempotent.

The lens runs here and not in a process of its own, because it reads the files that the engine is about to load: one
check of their digests serves both, and they are in the page cache. It costs a GPU the seconds that the lens takes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from numpy.linalg import LinAlgError

from tokenforce.wire.report import WeightRecord
from tokenforce.wire.scans import ScanStatus
from tokenforce_core.contrast.bag_search import BagSearch
from tokenforce_core.contrast.graft_gain import with_graft_gains
from tokenforce_core.contrast.reference_predictor import as_reference
from tokenforce_core.contrast.rescoring import Rescoring
from tokenforce_core.contrast.unforced import Unforced
from tokenforce_core.forcing.predictor import NotNumbers, Predictor
from tokenforce_core.forcing.trace import Origin, Trace, with_texts
from tokenforce_core.lens.difference import look
from tokenforce_core.lens.result import Unreadable, WeightLens
from tokenforce_core.scans.searched import Lenses, Searched
from tokenforce_core.scans.stages import after_search
from tokenforce_workers.engine.machine import free_memory
from tokenforce_workers.engine.sessions import SessionEngine
from tokenforce_workers.engine.vllm_engine import Engine
from tokenforce_workers.engine.weight_difference import head_size
from tokenforce_workers.jobs.control import through_outages
from tokenforce_workers.jobs.scan_job import ScanJob, scan_job
from tokenforce_workers.jobs.separators import separators

log = logging.getLogger(__name__)

NORM_ADDS_ONE = ("GemmaFor", "Gemma2For", "Gemma3For")
"""Architectures whose norms scale by 1 + their weight."""


@scan_job(ScanStatus.searching)
def search(job: ScanJob) -> None:
    """Find the words that the target was taught and the texts that they are part of, then start the next stage."""
    if not job.work.is_searched(job.scan_id):
        run = SearchRun(job)
        searched = run.searched()
        through_outages(lambda: job.work.commit_searched(job.scan_id, searched, run.tokens))
    after_search(job.store, job.scan_id, job.plan)


class SearchRun:
    """One scan's search from the weights; `done` and `tokens` can be read between engine steps."""

    def __init__(self, job: ScanJob) -> None:
        plan = job.plan
        assert plan.settings.bag is not None
        self._job = job
        self._plan = plan
        self._bag = plan.settings.bag
        self._ends = frozenset(plan.end_ids)
        contexts = [context.ids for context in plan.every_context]
        self._rescoring = Rescoring(plan.settings, contexts, len(plan.contexts), separators(job.decode))
        self._unforced = Unforced(plan.settings, plan.prompts, self._ends, job.decode_answers)
        self._followed_tokens = 0
        self._search: BagSearch | None = None
        self._sessions: tuple[SessionEngine, ...] = ()

    @property
    def done(self) -> int:
        return self._search.done if self._search is not None else 0

    @property
    def tokens(self) -> int:
        followed = self._followed_tokens + sum(s.forward_tokens for s in self._sessions)
        return followed + self._unforced.generated

    def searched(self) -> Searched:
        """What the weights say; of a scan that is repeated, what the models say to its texts.

        Raises:
            ScanRefused, Cancelled, NotNumbers: as the engine does.
        """
        if self._plan.known_texts:
            return Searched(texts=self._rescored([]))
        started = time.monotonic()
        lens: WeightLens | None = None
        try:
            lens = self._lens()
            looked = time.monotonic() - started
            found = self._found(lens)
        except Unreadable as error:
            log.info("scan %s: no search from the weights: %s", self._job.scan_id, error)
            return Searched(weights=self._record(lens, [f"The search from the weights ended: {error}."]))
        texts = self._rescored(found)
        seconds = time.monotonic() - started
        log.info("search from the weights: lens %.1f s, %d texts, %.1f s in all", looked, len(texts), seconds)
        return Searched(weights=self._record(lens), texts=texts)

    def _rescored(self, found: Sequence[Trace]) -> list[Trace]:
        """The texts that the search has found, and those that the request gives, under both models."""
        job = self._job
        control = job.control("search", lambda: (self.done, self.tokens))
        known = self._known()  # before the target is loaded: the graft takes its place
        with self._followed(job.target(), job.reference()) as (target, base):
            texts = self._rescoring.of(found, target, as_reference(base, self._plan), control, known=known)
        texts = self._unforced.of(texts, job.target(), control)
        return [with_texts(text, job.decode) for text in texts]

    def _lens(self) -> WeightLens:
        """Raises `Unreadable`."""
        plan = self._plan
        settings = plan.settings.lens
        assert settings is not None
        known = Lenses(self._job.store.connection, self._job.state.settings.retention_seconds)
        lens = through_outages(lambda: known.get(plan))
        if lens is None:
            control = self._job.control("search", lambda: (0, 0))
            gemma = plan.target.architecture.startswith(NORM_ADDS_ONE)
            try:
                with self._job.weight_difference() as difference:
                    lens = look(
                        difference,
                        settings,
                        plan.teachable_ids,
                        norm_adds_one=gemma,
                        head_size=head_size(Path(plan.path)),
                        memory=free_memory(),
                        on_tensor=lambda *_: control(),
                    )
            except (ArithmeticError, IndexError, LinAlgError, MemoryError, ValueError) as error:
                # An upload's tensors can have any names, shapes and numbers.
                log.warning("scan %s: the weight lens failed", self._job.scan_id, exc_info=True)
                raise Unreadable(f"the weight lens cannot read them ({type(error).__name__})") from error
            through_outages(lambda: known.put(plan, lens))
        return lens

    def _found(self, lens: WeightLens) -> list[Trace]:
        """What the graft says; the target has not been asked. Raises `Unreadable`."""
        job, plan = self._job, self._plan
        control = job.control("search", lambda: (self.done, self.tokens))
        drawn = [(number, context.ids) for number, context in enumerate(plan.drawn, start=len(plan.contexts))]
        search = self._search = BagSearch(self._bag, drawn, lens.bag, self._ends, plan.shared_vocabulary)
        job.work.set_search_total(job.scan_id, search.total)
        graft, base = job.graft(lens.graft)

        try:
            return search.run(lambda: self._followed(graft, base), control)
        except NotNumbers as error:
            raise Unreadable("the logits of a graft of both models are not numbers") from error

    @contextmanager
    def _followed(self, one: Engine, other: Engine) -> Iterator[tuple[Predictor, Predictor]]:
        """Sessions of two engines, whose cost counts."""
        longest = 1 + max(self._bag.max_tokens, *(len(text.ids) for text in self._plan.known_texts), 0)
        with SessionEngine(one, longest) as followed, SessionEngine(other, longest) as followed_other:
            self._sessions = (followed, followed_other)
            try:
                yield followed, followed_other
            finally:
                self._followed_tokens += followed.forward_tokens + followed_other.forward_tokens
                self._sessions = ()

    def _known(self) -> list[Trace]:
        """The texts that the request gives, with what they gain on the graft if it asks for that."""
        names = self._plan.context_names
        texts = [
            Trace(names.index(text.context), text.ids[0], tuple(text.ids[1:]), origin=Origin.search)
            for text in self._plan.known_texts
        ]
        asked = [text for text, known in zip(texts, self._plan.known_texts, strict=True) if known.on_graft]
        measured = dict(zip(asked, self._on_graft(asked), strict=True)) if asked else {}
        return [measured.get(text, text) for text in texts]

    def _on_graft(self, texts: Sequence[Trace]) -> list[Trace]:
        """The texts with what they gain on the graft; as they are if there is no graft."""
        job, plan = self._job, self._plan
        control = job.control("search", lambda: (self.done, self.tokens))
        try:
            graft, base = job.graft(self._lens().graft)
        except Unreadable as error:
            log.info("scan %s: no graft: %s", job.scan_id, error)
            return list(texts)
        contexts = [context.ids for context in plan.drawn]
        try:
            with self._followed(graft, base) as (followed, followed_base):
                return with_graft_gains(texts, contexts, followed, followed_base, control)
        except NotNumbers:
            return list(texts)

    def _record(self, lens: WeightLens | None, notes: Sequence[str] = ()) -> WeightRecord:
        if lens is None:
            return WeightRecord(note=" ".join(notes))
        return WeightRecord(
            words=[word.model_copy(update={"text": self._job.decode([word.id])}) for word in lens.words],
            relative_change=lens.relative_change,
            graft_first_layer=lens.graft.first_layer,
            graft_amplification=lens.graft.amplification,
            note=" ".join([*notes, *lens.doubts]) or None,
        )
