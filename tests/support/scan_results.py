"""Made-up results of a scan: a plan, what its workers hand in, and a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tokenforce.wire.findings import Verdict
from tokenforce.wire.report import ContextRecord, Report, ScanRecord, TargetRecord
from tokenforce.wire.scans import Depth, Preset, ScanRequest
from tokenforce_core.forcing.repetition import Period
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.plan.hashed import Hashed
from tokenforce_core.plan.plan import Plan
from tokenforce_core.plan.presets import settings_for

VOCABULARY = 64
_MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
NO_FILES = Hashed(folder=Path("/models/example"), files=(), listed=(), digest="sha256:00")
"""Of a plan that no engine is loaded for."""


def example_plan(preset: Preset = Preset.standard) -> Plan:
    """Every entry of a vocabulary of `VOCABULARY` entries, forced after a BOS, in shards of 16."""
    return Plan(
        target=TargetRecord(
            model="/models/example", digest="sha256:00", architecture="LlamaForCausalLM", vocabulary_size=VOCABULARY
        ),
        path="/models/example",
        loaded_digest="sha256:00",
        tokenizer_path="/models/example",
        hashed=(NO_FILES,),
        settings=settings_for(ScanRequest(model="/models/example", preset=preset)),
        contexts=[ContextRecord(name="bos", ids=[1], text="<s>", aligned=False)],
        forced_contexts=[0],
        depth=Depth.thorough,
        skipped=[],
        end_ids=[2],
        shard_size=16,
        max_length=512,
        queue="scan.example",
    )


def swept(forced_id: int, score: float) -> Trace:
    """A candidate of the sweep of five tokens, all of the probability `score`, and none of them another candidate's."""
    return Trace(
        context=0,
        forced_id=forced_id,
        ids=tuple(range(VOCABULARY + 5 * forced_id, VOCABULARY + 5 * forced_id + 5)),
        log_p=(math.log(score),) * 5,
        sweep_score=score,
        text=f"text {forced_id}",
        forced_text=f"token {forced_id}",
    )


def confirmed(forced_id: int, score: float, *, share: float = 0.0, degenerate: bool = False) -> Trace:
    """The same candidate after the confirmation; `share` of it repeats."""
    return replace(swept(forced_id, score), period=Period(0, 2, share), degenerate=degenerate, unit_text="unit")


def example_report(scan_id: str, reasons: Sequence[str] = ("Nothing was looked at.",)) -> Report:
    plan = example_plan()
    record = ScanRecord(
        id=scan_id,
        target=plan.target,
        settings=plan.settings,
        contexts=plan.contexts,
        forced_contexts=plan.context_names,
        shard_size=plan.shard_size,
        forced=VOCABULARY,
        skipped=[],
        versions={},
        timings_seconds={},
        forward_tokens=0,
        created_at=_MOMENT,
        finished_at=_MOMENT,
    )
    return Report(verdict=Verdict.inconclusive, reasons=list(reasons), scan=record, findings=[])
