"""The engine on a GPU: `make gpu`. Not part of `make test`, which runs on machines without one."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tests.support.tiny_model import HIDDEN_TEXT
from tokenforce.types import ScanRequest
from tokenforce_core.presets import settings_for
from tokenforce_core.sweep import Sweep
from tokenforce_service.contexts import build_context
from tokenforce_workers.machine import prepare_environment, survey
from tokenforce_workers.settings import WorkerSettings

pytestmark = pytest.mark.gpu


class Stop(Exception):
    pass


def test_cancel_and_switch_leave_a_working_engine(planted_model: Path) -> None:
    """Multiprocess engine: a cancelled sweep, the whole sweep, and a second load in the same process."""
    settings = WorkerSettings(device="cuda", max_num_seqs=64)
    machine = survey(settings)
    prepare_environment(machine)
    from tokenforce_workers.engine import Engine

    tokenizer = AutoTokenizer.from_pretrained(planted_model)
    context = build_context("assistant", tokenizer, len(tokenizer)).ids
    scan, end_ids = settings_for(ScanRequest(model="/m")), frozenset(tokenizer.all_special_ids)

    def stop() -> None:
        raise Stop

    for _ in range(2):
        engine = Engine(str(planted_model), "float32", 512, machine, settings)
        with pytest.raises(Stop):
            Sweep(scan, 0, context, range(3, len(tokenizer)), end_ids).run(engine, stop)
        best = Sweep(scan, 0, context, range(3, len(tokenizer)), end_ids).run(engine)
        texts = [tokenizer.decode([c.forced_id, *c.token_ids]) for c in best]
        assert any(text == HIDDEN_TEXT or HIDDEN_TEXT.startswith(text) for text in texts)
        engine.close()
