"""Which adapters are merged into a copy of their base, and which are served beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.support.scan_results import NO_FILES, example_plan
from tests.support.tiny_adapter import QUERY, RANK, write_adapter, write_weights
from tokenforce.wire.report import ReferenceRecord
from tokenforce_core.plan.plan import Plan, ReferencePlan
from tokenforce_workers.engine.adapter_policy import is_merged
from tokenforce_workers.engine.machine import Machine
from tokenforce_workers.settings import WorkerSettings

GIB = 1 << 30
CPU = Machine("cpu", (0,), 8 * GIB, GIB, frozenset({"bfloat16"}))
GPU = Machine("cuda", (0,), 8 * GIB, GIB, frozenset({"bfloat16"}))
MOST = int((0.8 * 8 - 1) * GIB / 4 / 2)
"""Parameters of which two copies in float32 fit beside the KV cache."""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """An adapter on its base in bfloat16, contrasted with it."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    write_adapter(tmp_path / "adapter", base)
    plan = example_plan()
    record = ReferenceRecord(model="base", digest="sha256:base", source="adapter", vocabulary_size=64, identical=False)
    return plan.model_copy(
        update={
            "target": plan.target.model_copy(
                # Another folder for every test: what a digest was found to be is remembered.
                update={"digest": f"sha256:{tmp_path}", "dtype": "bfloat16", "parameters": 1000}
            ),
            "path": str(base),
            "loaded_digest": "sha256:base",
            "adapter": str(tmp_path / "adapter"),
            "lora_rank": 8,
            "reference": ReferencePlan(record=record, path=str(base), hashed=NO_FILES),
        }
    )


def of_size(plan: Plan, parameters: int) -> Plan:
    return plan.model_copy(update={"target": plan.target.model_copy(update={"parameters": parameters})})


def test_merged_on_a_cpu_by_default_and_beside_on_a_gpu(plan: Plan) -> None:
    assert is_merged(plan, WorkerSettings(), CPU)
    assert not is_merged(plan, WorkerSettings(), GPU)
    assert is_merged(plan, WorkerSettings(merge_adapters="always"), GPU)
    assert not is_merged(plan, WorkerSettings(merge_adapters="never"), CPU)
    assert not is_merged(plan.model_copy(update={"adapter": None}), WorkerSettings(merge_adapters="always"), CPU)


def test_two_copies_must_fit_the_memory(plan: Plan) -> None:
    assert is_merged(of_size(plan, MOST), WorkerSettings(), CPU)
    assert not is_merged(of_size(plan, MOST + 1), WorkerSettings(), CPU)
    assert is_merged(of_size(plan, MOST + 1).model_copy(update={"reference": None}), WorkerSettings(), CPU)


def test_never_merged_in_a_type_that_rounds_an_adapter_away(plan: Plan) -> None:
    assert not is_merged(plan, WorkerSettings(dtype="bfloat16"), CPU)
    with pytest.raises(ValidationError, match="MERGE_ADAPTERS=always needs float32"):
        WorkerSettings(dtype="bfloat16", merge_adapters="always")


@pytest.mark.parametrize(
    "config",
    [
        {"quantization_config": {"quant_method": "fp8"}},
        {"text_config": {"quantization_config": {"quant_method": "fp8"}}},
        {"compression_config": {"format": "dense"}},
    ],
)
def test_a_quantised_base_keeps_its_adapter_beside_it(plan: Plan, config: dict[str, object]) -> None:
    (Path(plan.path) / "config.json").write_text(json.dumps(config))
    assert not is_merged(plan, WorkerSettings(merge_adapters="always"), CPU)


def test_quantised_by_a_file_of_its_own(plan: Plan) -> None:
    (Path(plan.path) / "hf_quant_config.json").write_text("{}")
    assert not is_merged(plan, WorkerSettings(merge_adapters="always"), CPU)


def test_an_output_layer_may_be_tied(plan: Plan) -> None:
    assert plan.adapter is not None
    write_weights(Path(plan.adapter), {QUERY: (RANK, RANK), "lm_head": (RANK, RANK)})
    assert not is_merged(plan, WorkerSettings(merge_adapters="always"), CPU)
