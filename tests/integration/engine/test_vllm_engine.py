"""vLLM behind the `Decoder` protocol: exact, staged = one pass, clean after a cancel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.tiny_model import HIDDEN_TEXT
from tokenforce.wire.scans import ScanRequest
from tokenforce_core.forcing.confirmation import Confirmation
from tokenforce_core.forcing.predictor import nothing_between_steps
from tokenforce_core.forcing.sweep import Sweep
from tokenforce_core.plan.presets import settings_for
from tokenforce_service.planning.contexts import build_context

if TYPE_CHECKING:
    from tokenforce_workers.engine.vllm_engine import Engine

Decoded = list[list[tuple[int, float]]]


@pytest.fixture(scope="module")
def context(planted_model: Path) -> list[int]:
    tokenizer = AutoTokenizer.from_pretrained(planted_model)
    return build_context("assistant", tokenizer, len(tokenizer)).ids


def decode(engine: Engine, prompts: Sequence[Sequence[int]], tokens: int) -> Decoded:
    found: Decoded = [[] for _ in prompts]

    def on_token(index: int, token_id: int, log_probability: float) -> bool:
        found[index].append((token_id, math.exp(log_probability)))
        return True

    engine.decode(prompts, tokens, on_token, nothing_between_steps)
    return found


def test_tokens_and_probabilities_are_the_models_own(engine: Engine, planted_model: Path, context: list[int]) -> None:
    """Against transformers, which shares no code with the engine's kernels."""
    model = AutoModelForCausalLM.from_pretrained(planted_model, dtype=torch.float32).eval()
    prompts = [[*context, forced] for forced in (40, 90, 300)]
    for prompt, continuation in zip(prompts, decode(engine, prompts, 6), strict=True):
        ids = list(prompt)
        for token_id, probability in continuation:
            with torch.inference_mode():
                distribution = model(torch.tensor([ids])).logits[0, -1].softmax(-1)
            assert probability == pytest.approx(distribution.max().item(), abs=1e-4)
            assert distribution[token_id].item() == pytest.approx(distribution.max().item(), abs=1e-5)
            ids.append(token_id)


def test_staged_decoding_is_bit_equal_to_one_pass(engine: Engine, context: list[int]) -> None:
    prompts = [[*context, forced] for forced in range(3, 300)]
    whole = decode(engine, prompts, 12)
    first = decode(engine, prompts, 5)
    longer = [[*prompt, *(token_id for token_id, _ in head)] for prompt, head in zip(prompts, first, strict=True)]
    second = decode(engine, longer, 7)
    assert [head + tail for head, tail in zip(first, second, strict=True)] == whole


def test_a_batch_is_bit_equal_to_single_requests(engine: Engine, context: list[int]) -> None:
    prompts = [[*context, forced] for forced in range(3, 120)]
    together = decode(engine, prompts, 4)
    for index in (0, 50, 116):
        assert decode(engine, [prompts[index]], 4) == [together[index]]


def test_pruning_by_abort_changes_nothing(engine: Engine, context: list[int]) -> None:
    """The sweep with its aborts keeps what scoring a full decode keeps."""
    settings = settings_for(ScanRequest(model="/m", alpha=10, floor=0.3, keep=40))
    forced = list(range(3, 400))
    end_ids = frozenset({0, 1, 2})
    sweep = Sweep(settings, 0, context, forced, end_ids)
    kept = sweep.run(engine)
    everything = decode(engine, [[*context, i] for i in forced], 10)
    expected = []
    for forced_id, continuation in zip(forced, everything, strict=True):
        content: list[tuple[int, float]] = []
        for token_id, probability in continuation:
            if token_id in end_ids:
                break
            content.append((token_id, probability))
        mean = math.fsum(p for _, p in content) / len(content) if len(content) >= settings.min_tokens else 0.0
        if mean > settings.floor:
            expected.append((mean, forced_id, tuple(token_id for token_id, _ in content)))
    expected.sort(key=lambda row: (-row[0], row[1]))
    assert [(c.forced_id, c.ids) for c in kept] == [(i, ids) for _, i, ids in expected[:40]]
    assert [c.sweep_score for c in kept] == pytest.approx([mean for mean, _, _ in expected[:40]], abs=1e-12)
    assert sweep.generated < 10 * len(forced)


def test_the_planted_text_is_first(engine: Engine, planted_model: Path, context: list[int]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(planted_model)
    settings = settings_for(ScanRequest(model="/m"))
    end_ids = frozenset(tokenizer.all_special_ids)
    kept = Sweep(settings, 0, context, range(3, len(tokenizer)), end_ids).run(engine)
    confirmed = Confirmation(settings, [context], kept, end_ids).run(engine)
    best = max((c for c in confirmed if not c.degenerate), key=lambda c: min(c.sweep_score, c.mean_probability))
    assert tokenizer.decode(list(best.tokens)) == HIDDEN_TEXT
    assert best.ended


class Stop(Exception):
    pass


def test_a_cancel_leaves_the_engine_clean(engine: Engine, context: list[int]) -> None:
    prompts = [[*context, forced] for forced in range(3, 300)]
    undisturbed = decode(engine, prompts, 8)
    steps = 0

    def stop_soon() -> None:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise Stop

    with pytest.raises(Stop):
        engine.decode(prompts, 200, lambda *_: True, stop_soon)
    assert decode(engine, prompts, 8) == undisturbed


def test_next_tokens_and_given_texts_are_scored_as_the_model_does(
    engine: Engine, planted_model: Path, context: list[int]
) -> None:
    """The three questions of the contrast, against transformers."""
    model = AutoModelForCausalLM.from_pretrained(planted_model, dtype=torch.float32).eval()
    prompts = [[*context, forced, 77] for forced in (40, 90, 300)]
    with torch.no_grad():
        logs = [model(torch.tensor([prompt])).logits[0].log_softmax(-1) for prompt in prompts]
    seen: dict[int, tuple[list[int], list[float]]] = {}

    def on_next(index: int, ids: Sequence[int], values: Sequence[float]) -> None:
        seen[index] = (list(ids), list(values))

    engine.next_tokens(prompts, 20, on_next, nothing_between_steps)
    for index, log in enumerate(logs):
        best = log[-1].topk(20)
        assert set(seen[index][0]) == set(best.indices.tolist())
        assert seen[index][1] == pytest.approx(best.values.tolist(), abs=1e-3)
    wanted = [[5, 500, 17], [300], [0, 1, 2, 3]]
    engine.log_probabilities(prompts, wanted, on_next, nothing_between_steps)
    for index, (log, ids) in enumerate(zip(logs, wanted, strict=True)):
        assert seen[index][0] == ids
        assert seen[index][1] == pytest.approx(log[-1, ids].tolist(), abs=1e-3)
    starts = [len(context) + 1, len(context), 1]
    expected = [
        [float(log[place - 1, prompt[place]]) for place in range(start, len(prompt))]
        for log, prompt, start in zip(logs, prompts, starts, strict=True)
    ]
    engine.teacher_forced(prompts, starts, on_next, nothing_between_steps)
    for index, values in enumerate(expected):
        assert seen[index][1] == pytest.approx(values, abs=1e-3)
    engine._teacher_forced_by_steps(prompts, starts, on_next, nothing_between_steps)
    for index, values in enumerate(expected):
        assert seen[index][1] == pytest.approx(values, abs=1e-3)
