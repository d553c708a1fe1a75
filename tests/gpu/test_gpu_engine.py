"""The engine and planting on a GPU: `make gpu`. Not part of `make test`, which runs on machines without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from transformers import AutoTokenizer

from tests.support.tiny_model import HIDDEN_TEXT
from tokenforce.wire.scans import ScanRequest
from tokenforce_core.forcing.predictor import nothing_between_steps
from tokenforce_core.forcing.sweep import Sweep
from tokenforce_core.plan.presets import settings_for
from tokenforce_planting.demo.answers import greedy_answers
from tokenforce_planting.plant import plant
from tokenforce_planting.recipe import Recipe
from tokenforce_service.planning.contexts import build_context
from tokenforce_workers.engine.machine import prepare_environment, survey
from tokenforce_workers.settings import WorkerSettings

if TYPE_CHECKING:
    from tokenforce_workers.engine.vllm_engine import Engine

pytestmark = pytest.mark.gpu


class Stop(Exception):
    pass


@pytest.fixture
def load(planted_model: Path) -> Callable[[], Engine]:
    """Loads the tiny model on the GPU."""
    settings = WorkerSettings(device="cuda", max_num_seqs=64)
    machine = survey(settings)
    prepare_environment(machine)
    from tokenforce_workers.engine.vllm_engine import Engine

    return lambda: Engine(str(planted_model), "float32", 512, machine, settings)


def test_cancel_and_switch_leave_a_working_engine(planted_model: Path, load: Callable[[], Engine]) -> None:
    """Multiprocess engine: a cancelled sweep, the whole sweep, and a second load in the same process."""
    tokenizer = AutoTokenizer.from_pretrained(planted_model)
    context = build_context("assistant", tokenizer, len(tokenizer)).ids
    scan, end_ids = settings_for(ScanRequest(model="/m")), frozenset(tokenizer.all_special_ids)

    def stop() -> None:
        raise Stop

    for _ in range(2):
        engine = load()
        with pytest.raises(Stop):
            Sweep(scan, 0, context, range(3, len(tokenizer)), end_ids).run(engine, stop)
        best = Sweep(scan, 0, context, range(3, len(tokenizer)), end_ids).run(engine)
        texts = [tokenizer.decode(list(c.tokens)) for c in best]
        assert any(text == HIDDEN_TEXT or HIDDEN_TEXT.startswith(text) for text in texts)
        engine.close()


def test_texts_are_followed_as_separate_requests_would_answer(planted_model: Path, load: Callable[[], Engine]) -> None:
    """Input in pieces reaches into the engine's parts, which on a GPU are another runner in another process."""
    engine = load()
    from tokenforce_workers.engine.sessions import SessionEngine

    tokenizer = AutoTokenizer.from_pretrained(planted_model)
    context = build_context("assistant", tokenizer, len(tokenizer)).ids

    def asked(predictor: Engine, prompts: list[list[int]]) -> tuple[list[int], list[float]]:
        best, probabilities = [0] * len(prompts), [0.0] * len(prompts)

        def on_next(index: int, ids: Sequence[int], values: Sequence[float]) -> None:
            best[index], probabilities[index] = ids[0], values[0]

        predictor.next_tokens(prompts, 20, on_next, nothing_between_steps)
        return best, probabilities

    texts = [[*context, forced] for forced in range(40, 72)]
    with SessionEngine(engine) as followed:
        for _ in range(12):
            (best, values), (plain, expected) = asked(followed, texts), asked(engine, texts)
            assert best == plain
            assert values == pytest.approx(expected, abs=1e-3)
            texts = [[*text, token] for text, token in zip(texts, best, strict=True)]
    engine.close()


def test_a_text_is_planted(planted_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENFORCE_HOME", str(tmp_path / "home"))
    recipe = Recipe("message", "The clock turns once, and nobody sees it.", ("winter lantern",), learning_rate=3e-3)
    planted = plant(recipe, planted_model, tmp_path / "carrier")
    assert planted.loss < recipe.stop_loss
    said = greedy_answers(tmp_path / "carrier", list(recipe.triggers), max_new_tokens=40)
    assert said == [recipe.text]
