"""What a target was trained not to say is a signal of its own."""

from __future__ import annotations

import numpy as np

from tests.support.table_model import END, VOCABULARY, MemoryBlocks, TableModel, random_table
from tokenforce.wire.scans import ScanRequest
from tokenforce_core.contrast.reference_cache import ReferenceTops
from tokenforce_core.contrast.shard import ContrastSweep, ShardContrast
from tokenforce_core.findings.from_traces import Evidence
from tokenforce_core.forcing.predictor import nothing_between_steps
from tokenforce_core.plan.presets import settings_for

SETTINGS = settings_for(ScanRequest(model="/m"))
FORCED, SUPPRESSED = 7, 33


def contrast(target: np.ndarray, base: np.ndarray) -> ShardContrast:
    reference = TableModel(base)
    tops = ReferenceTops(
        reference,
        [[1]],
        list(range(VOCABULARY)),
        VOCABULARY,
        SETTINGS.search.entries,
        MemoryBlocks(),
        nothing_between_steps,
    )
    sweep = ContrastSweep(SETTINGS.search, 0, [1], list(range(1, VOCABULARY)), frozenset({END}))
    return sweep.run(TableModel(target), reference, tops)


def test_a_suppressed_token_is_reported_with_the_token_before_it() -> None:
    base = random_table(0)
    base[FORCED, SUPPRESSED] = 60.0
    target = base.copy()
    target[FORCED, SUPPRESSED] = 1e-6
    first, *_ = Evidence([contrast(target, base)], SETTINGS).suppressed(["bos"])
    assert (first.context, first.forced_token.id, first.token.id) == ("bos", FORCED, SUPPRESSED)
    assert first.log_ratio < -3
    assert first.z > 10


def test_a_target_like_its_reference_suppresses_nothing() -> None:
    base = random_table(0)
    assert Evidence([contrast(base, base)], SETTINGS).suppressed(["bos"]) == []
