"""In which type the engine computes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import pytest
from fakeredis import FakeRedis

from tests.support.scan_results import example_plan
from tokenforce_core.scans.store import Store
from tokenforce_workers.engine.engine_cache import EngineCache
from tokenforce_workers.engine.machine import Machine, _left_in_container
from tokenforce_workers.settings import WorkerSettings

NEITHER, BFLOAT16, BOTH = frozenset[str](), frozenset({"bfloat16"}), frozenset({"bfloat16", "float16"})


def machine(native: frozenset[str]) -> Machine:
    return Machine("cpu", (0,), 1 << 30, 1 << 30, native)


@pytest.mark.parametrize(
    ("stored", "native", "computed"),
    [
        ("float32", BOTH, "float32"),  # rounded to either, a light fine-tuning is gone
        (None, BOTH, "float32"),  # who knows what it is
        ("bfloat16", BOTH, "bfloat16"),
        ("float16", BOTH, "float16"),
        ("bfloat16", BFLOAT16, "bfloat16"),
        ("float16", BFLOAT16, "float32"),  # never one 16-bit type for the other: each loses what the other has
        ("bfloat16", NEITHER, "float32"),
        ("float16", NEITHER, "float32"),
        ("float8_e4m3fn", BOTH, "float32"),
    ],
)
def test_never_coarser_than_the_checkpoint_and_finer_without_the_hardware(
    stored: str | None, native: frozenset[str], computed: str
) -> None:
    assert machine(native).compute_dtype(stored) == computed


@pytest.mark.parametrize(
    ("setting", "merged", "computed"),
    [(None, False, "bfloat16"), ("float32", False, "float32"), (None, True, "float32")],
)
def test_a_scan_computes_in_its_targets_type_unless_the_settings_or_an_adapter_want_another(
    monkeypatch: pytest.MonkeyPatch, setting: Literal["float32"] | None, merged: bool, computed: str
) -> None:
    monkeypatch.setattr("tokenforce_workers.engine.engine_cache.is_merged", lambda *_: merged)
    plan = example_plan()
    plan = plan.model_copy(update={"target": plan.target.model_copy(update={"dtype": "bfloat16"})})
    state = EngineCache(Store(FakeRedis()), WorkerSettings(dtype=setting), machine(BOTH))
    assert state.dtype_for(plan) == computed


def test_what_a_container_has_left_is_its_limit_less_what_it_uses_without_the_page_cache(tmp_path: Path) -> None:
    for name, value in (("max", "1000"), ("current", "700"), ("stat", "anon 300\ninactive_file 250\n")):
        (tmp_path / f"memory.{name}").write_text(value)
    assert _left_in_container(tmp_path) == 550
    (tmp_path / "memory.max").write_text("max\n")
    assert _left_in_container(tmp_path) == math.inf
    assert _left_in_container(tmp_path / "none") == math.inf
