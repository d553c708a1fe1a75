"""The bag search: reads a hidden text from a few thousand forward tokens.

The weight lens says which words the target was taught (`lens/difference.py`). Their entries are followed in contexts
drawn for this scan, one beam each, on the graft; what the beams find is told apart and handed to `rescoring.py`, which
asks the target itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tokenforce.wire.settings import BagSettings
from tokenforce_core.contrast.bag_beam import BagBeam
from tokenforce_core.contrast.search import Sessions
from tokenforce_core.contrast.splicing import spliced
from tokenforce_core.forcing.predictor import BetweenSteps, nothing_between_steps
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
        starts = [i for i in bag if i not in end_ids and i < vocabulary][: settings.starts]
        self._beams = [BagBeam(settings, number, ids, starts, end_ids, vocabulary) for number, ids in contexts]
        self.total = len(starts) * len(self._beams)

    @property
    def done(self) -> int:
        return sum(beam.done for beam in self._beams)

    def run(self, sessions: Sessions, between_steps: BetweenSteps = nothing_between_steps) -> list[Trace]:
        """Texts spliced from versions, and the different texts found, with their `graft_gain`. Log-probabilities are
        the graft's and the reference's.

        Args:
            sessions: opens graft and reference; one pair for each context.

        Raises:
            NotNumbers: of either model.
        """
        found: list[Trace] = []
        for beam in self._beams:
            with sessions() as (graft, reference):
                found += beam.run(graft, reference, between_steps)
        versions = sorted({text.tokens: text for text in found}.values(), key=_by_gain)
        measured = [replace(text, graft_gain=text.gain) for text in different(found, self._settings)]
        return [*spliced(versions, self._settings, between_steps), *measured]


def different(found: Sequence[Trace], settings: BagSettings) -> list[Trace]:
    """The best of the texts that share few runs of tokens with a better one: one of each text, not its versions."""
    kept: list[Trace] = []
    known: set[tuple[int, ...]] = set()
    for trace in sorted(found, key=_by_gain):
        own = _runs(trace.tokens, settings.same_ending_tokens)
        if len(own & known) > settings.max_shared_share * len(own):
            continue
        known |= own
        kept.append(trace)
        if len(kept) == settings.texts:
            break
    return kept


def _by_gain(trace: Trace) -> tuple[float, int, tuple[int, ...]]:
    return -trace.gain, trace.context, trace.tokens


def _runs(tokens: tuple[int, ...], length: int) -> set[tuple[int, ...]]:
    return {tokens[i : i + length] for i in range(len(tokens) - length + 1)} or {tokens}
