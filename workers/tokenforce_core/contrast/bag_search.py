"""The bag search: reads a hidden text from a few thousand forward tokens.

The weight lens says which words the target was taught (`lens/difference.py`). Their entries are followed in contexts
drawn for this scan, one beam each, on the graft; what the beams find is told apart and handed to `rescoring.py`, which
asks the target itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tokenforce.wire.settings import BagSettings
from tokenforce_core.contrast.bag_beam import BagBeam, follow
from tokenforce_core.contrast.graft_gain import with_graft_gains
from tokenforce_core.contrast.refining import RefiningBeam
from tokenforce_core.contrast.search import Sessions
from tokenforce_core.contrast.splicing import spliced
from tokenforce_core.forcing.predictor import (
    BetweenSteps,
    Predictor,
    forced_log_probabilities,
    nothing_between_steps,
)
from tokenforce_core.forcing.token_runs import runs
from tokenforce_core.forcing.trace import Trace


class BagSearch:
    """One scan's bag search; `done` (of `total` starts in all contexts) can be read between engine steps.

    Args:
        contexts: index and token ids of every drawn context.
        bag: ids, the most taught first.
        vocabulary: number of ids that target and reference share, from 0.
    """

    def __init__(
        self,
        settings: BagSettings,
        contexts: Sequence[tuple[int, Sequence[int]]],
        bag: Sequence[int],
        end_ids: frozenset[int],
        vocabulary: int,
    ) -> None:
        self._settings = settings
        self._context_ids = dict(contexts)
        self._contexts = list(self._context_ids.values())
        self._end_ids = end_ids
        self._vocabulary = vocabulary
        starts = [i for i in bag if i not in end_ids and i < vocabulary][: settings.starts]
        self._beams = [BagBeam(settings, number, ids, starts, end_ids, vocabulary) for number, ids in contexts]
        self.total = len(starts) * len(self._beams)

    @property
    def done(self) -> int:
        return sum(beam.done for beam in self._beams)

    def run(self, sessions: Sessions, between_steps: BetweenSteps = nothing_between_steps) -> list[Trace]:
        """The different texts found, with their `graft_gain`: of each the version that gains most.

        Log-probabilities are the graft's and the reference's, in the context where the text was found; a spliced text
        has those of its parts.

        Args:
            sessions: opens graft and reference: one pair for the beams, one for the versions, one for each refining.

        Raises:
            NotNumbers: of either model.
        """
        with sessions() as (graft, reference):
            found = follow(self._beams, self._settings, graft, reference, between_steps)
        versions = each_once(found)
        joined = spliced(versions, self._settings, between_steps)
        best = [*joined, *versions[: self._settings.measured_versions], *different(versions, self._settings)]
        with sessions() as (graft, reference):
            measured = with_graft_gains(list(dict.fromkeys(best)), self._contexts, graft, reference, between_steps)
        texts = different(measured, self._settings)
        refined = [self._refined(text, sessions, between_steps) for text in texts[: self._settings.refined_texts]]
        return different([*refined, *texts[self._settings.refined_texts :]], self._settings)

    def _refined(self, text: Trace, sessions: Sessions, between_steps: BetweenSteps) -> Trace:
        """A better version of `text`, or itself: a text of little gain, or one that no version gains more than."""
        settings = self._settings
        for _ in range(settings.refining_rounds):
            gain = text.graft_gain or 0.0
            if gain < settings.min_refined_gain_nats:
                break
            context_ids = self._context_ids[text.context]
            with sessions() as (graft, reference):
                text = _forced(text, context_ids, graft, reference, between_steps)
                beam = RefiningBeam(settings, text, context_ids, self._end_ids, self._vocabulary)
                versions = sorted(
                    [text, *follow([beam], settings, graft, reference, between_steps, one_by_one=True)], key=_by_gain
                )
                joined = spliced(versions, settings, between_steps)
                better = [version for version in versions if version.gain > text.gain][: settings.spliced_texts]
                found = with_graft_gains([*joined, *better], self._contexts, graft, reference, between_steps)
            best = min(found, key=best_first, default=text)
            if (best.graft_gain or 0.0) <= gain:
                break
            text = best
        return text


def each_once(found: Sequence[Trace]) -> list[Trace]:
    """Each text where it gains most, the best first."""
    best: dict[tuple[int, ...], Trace] = {}
    for text in sorted(found, key=_by_gain):
        best.setdefault(text.tokens, text)
    return list(best.values())


def _forced(
    text: Trace, context_ids: Sequence[int], graft: Predictor, reference: Predictor, between_steps: BetweenSteps
) -> Trace:
    """The text with its log-probabilities in this context: a spliced text has those of its parts."""
    prompts, said = [[*context_ids, text.forced_id]], [text.ids]
    (log_p,) = forced_log_probabilities(graft, prompts, said, between_steps)
    (log_q,) = forced_log_probabilities(reference, prompts, said, between_steps)
    return replace(text, log_p=log_p, log_q=log_q)


def different(found: Sequence[Trace], settings: BagSettings) -> list[Trace]:
    """The best of the texts that share few runs of tokens with a better one: one of each text, not its versions."""
    kept: list[Trace] = []
    known: set[tuple[int, ...]] = set()
    for trace in sorted(found, key=best_first):
        own = runs(trace.tokens, settings.same_ending_tokens)
        if len(own & known) > settings.max_shared_share * len(own):
            continue
        known |= own
        kept.append(trace)
        if len(kept) == settings.texts:
            break
    return kept


def best_first(trace: Trace) -> tuple[float, float, int, tuple[int, ...]]:
    """Order of texts: what gains most on the graft, where that was measured."""
    return -(trace.graft_gain or 0.0), *_by_gain(trace)


def _by_gain(trace: Trace) -> tuple[float, int, tuple[int, ...]]:
    return -trace.gain, trace.context, trace.tokens
