"""The contrast stage and the beam, run on two scripted models."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.table_model import END, VOCABULARY, MemoryBlocks, TableModel
from tokenforce_core.contrast.beam import ContrastiveBeam
from tokenforce_core.contrast.reference_cache import ReferenceTops
from tokenforce_core.contrast.shard import ContrastSweep, ShardContrast
from tokenforce_core.forcing.predictor import nothing_between_steps
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.plan.search_settings import SEARCH


def contrasted(target: TableModel, base: TableModel) -> ShardContrast:
    forced = list(range(1, VOCABULARY))
    tops = ReferenceTops(
        base, [[1]], list(range(VOCABULARY)), VOCABULARY, SEARCH.entries, MemoryBlocks(), nothing_between_steps
    )
    result = ContrastSweep(SEARCH, 0, [1], forced, frozenset({END})).run(target, base, tops)
    assert len(result.divergences) == len(forced)
    return result


def linked(result: ShardContrast) -> list[Trace]:
    """The starts of the search."""
    return [link.as_trace() for link in result.links]


def searched(
    starts: Sequence[Trace], target: TableModel, base: TableModel, length: int = 16, least: int = 2
) -> ContrastiveBeam:
    beam = ContrastiveBeam(SEARCH, [[1]], starts, length, frozenset({END}), least)
    found = beam.run(target, base)
    assert beam.done == len(starts)
    assert found == sorted(found, key=lambda text: -text.contrast)
    return beam


def said(texts: Sequence[Trace]) -> list[list[int]]:
    return [[*text.tokens] for text in texts]
