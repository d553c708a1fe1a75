"""Texts followed in streaming sessions: the same answers, a token a step, nothing left behind."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from transformers import AutoTokenizer

from tokenforce_core.forcing.predictor import Predictor, nothing_between_steps
from tokenforce_service.planning.contexts import build_context

if TYPE_CHECKING:
    from tokenforce_workers.engine.sessions import SessionEngine
    from tokenforce_workers.engine.vllm_engine import Engine

Answers = list[tuple[list[int], list[float]]]


@pytest.fixture(scope="module")
def context(planted_model: Path) -> list[int]:
    tokenizer = AutoTokenizer.from_pretrained(planted_model)
    return build_context("assistant", tokenizer, len(tokenizer)).ids


@pytest.fixture
def followed(engine: Engine) -> SessionEngine:
    from tokenforce_workers.engine.sessions import SessionEngine

    return SessionEngine(engine)


def top(predictor: Predictor, prompts: Sequence[Sequence[int]]) -> Answers:
    found: Answers = [([], [])] * len(prompts)

    def on_next(index: int, ids: Sequence[int], values: Sequence[float]) -> None:
        found[index] = (list(ids), list(values))

    predictor.next_tokens(prompts, 6, on_next, nothing_between_steps)
    return found


def given(predictor: Predictor, prompts: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> Answers:
    found: Answers = [([], [])] * len(prompts)

    def on_next(index: int, ids: Sequence[int], values: Sequence[float]) -> None:
        found[index] = (list(ids), list(values))

    predictor.log_probabilities(prompts, wanted, on_next, nothing_between_steps)
    return found


def same(one: Answers, other: Answers) -> bool:
    return [ids for ids, _ in one] == [ids for ids, _ in other] and all(
        values == pytest.approx(others, abs=1e-4) for (_, values), (_, others) in zip(one, other, strict=True)
    )


def unfinished(engine: Engine) -> int:
    return int(engine._engine.get_num_unfinished_requests())


def test_a_search_gets_the_answers_of_separate_requests(
    engine: Engine, followed: SessionEngine, context: list[int]
) -> None:
    """Over 40 tokens, so past the end of a KV block, with texts that part, end and come anew on the way."""
    prompts = [[*context, forced] for forced in range(40, 52)]
    for step in range(40):
        separate = top(engine, prompts)
        assert same(top(followed, prompts), separate), step
        # The best way on of every text, the second best of one in three; every eleventh step a new text begins.
        ways = [[*p, ids[0]] for p, (ids, _) in zip(prompts, separate, strict=True)]
        ways += [[*p, ids[1]] for p, (ids, _) in zip(prompts[::3], separate[::3], strict=True)]
        prompts = ways[step % 3 :][:12] + ([[*context, 100 + step]] if step % 11 == 0 else [])
    followed.forget()
    assert unfinished(engine) == 0


def test_questions_of_both_kinds_about_the_same_texts(
    engine: Engine, followed: SessionEngine, context: list[int]
) -> None:
    prompts = [[*context, forced, 77] for forced in (40, 90, 300)]
    for step in range(3):
        wanted = [[5, 500, 17 + step], [300], list(range(2 + step))]
        assert same(given(followed, prompts, wanted), given(engine, prompts, wanted))
        prompts = [[*prompt, 60 + step] for prompt in prompts]
    assert same(top(followed, prompts), top(engine, prompts))
    followed.forget()


def test_a_token_more_costs_one_forward_token(followed: SessionEngine, context: list[int]) -> None:
    prompts = [[*context, forced, *range(60, 84)] for forced in range(40, 52)]
    scheduled: list[int] = []
    core = followed._engine.engine_core.engine_core
    schedule = core.scheduler.schedule

    def counted(*arguments: object) -> object:
        output = schedule(*arguments)
        scheduled.append(output.total_num_scheduled_tokens)
        return output

    core.scheduler.schedule = counted
    try:
        top(followed, prompts)
        scheduled.clear()
        top(followed, [[*prompt, 90] for prompt in prompts])
    finally:
        core.scheduler.schedule = schedule
    followed.forget()
    assert sum(scheduled) == len(prompts)


def test_texts_are_forced_token_by_token_with_the_same_answers(
    engine: Engine, followed: SessionEngine, context: list[int]
) -> None:
    """Of different lengths, and more than there are places for."""
    prompts = [[*context, forced, *range(60, 61 + forced % 7)] for forced in range(40, 180)]
    starts = [len(context) + 1] * len(prompts)

    def forced(predictor: Predictor) -> Answers:
        found: Answers = [([], [])] * len(prompts)

        def on_next(index: int, ids: Sequence[int], values: Sequence[float]) -> None:
            found[index] = (list(ids), list(values))

        predictor.teacher_forced(prompts, starts, on_next, nothing_between_steps)
        return found

    assert same(forced(followed), forced(engine))
    followed.forget()
    assert unfinished(engine) == 0


def test_a_forced_text_costs_a_forward_token_for_each_of_its_tokens(
    followed: SessionEngine, context: list[int]
) -> None:
    text = [*context, 40, *range(60, 70)]
    before = followed.forward_tokens
    followed.teacher_forced([text], [len(context) + 1], lambda *_: None, nothing_between_steps)
    followed.forget()
    assert followed.forward_tokens - before == 10


def test_more_texts_than_places_are_asked_about_separately(
    engine: Engine, followed: SessionEngine, context: list[int]
) -> None:
    few = [[*context, forced] for forced in range(40, 44)]
    many = [[*context, forced] for forced in range(40, 200)]
    top(followed, few)
    assert same(top(followed, many), top(engine, many))
    assert unfinished(engine) == 0
    longer = [[*prompt, 50] for prompt in few]
    assert same(top(followed, longer), top(engine, longer))
    followed.forget()


class Stop(Exception):
    pass


@pytest.mark.parametrize("new", [False, True])
def test_a_cancel_leaves_the_engine_clean(
    engine: Engine, followed: SessionEngine, context: list[int], *, new: bool
) -> None:
    """In a question about known texts and in one about new ones, whose common prefix is computed first; at once, though
    another search on the engine has texts of its own."""
    from tokenforce_workers.engine.sessions import SessionEngine
    from tokenforce_workers.engine.vllm_engine import DRAIN_SECONDS

    prompts = [[*context, forced] for forced in range(40, 50)]
    longer = [[*prompt, 50] for prompt in prompts]
    before = top(engine, longer)
    other = SessionEngine(engine)
    top(other, prompts)
    top(followed, prompts)

    def stop() -> None:
        raise Stop

    asked = [[*prompt, 60] for prompt in longer] if new else longer
    started = time.monotonic()
    with pytest.raises(Stop):
        followed.next_tokens(asked, 6, lambda *_: None, stop)
    assert time.monotonic() - started < DRAIN_SECONDS
    assert unfinished(engine) == 0
    for predictor in (engine, other, followed):
        assert same(top(predictor, longer), before)
    other.forget()
    followed.forget()
    assert unfinished(engine) == 0


def test_two_searches_on_one_engine_do_not_meet(engine: Engine, followed: SessionEngine, context: list[int]) -> None:
    from tokenforce_workers.engine.sessions import SessionEngine

    other = SessionEngine(engine)
    prompts = [[*context, forced] for forced in range(40, 44)]
    top(followed, prompts)
    top(other, prompts)
    longer = [[*prompt, 50] for prompt in prompts]
    assert same(top(followed, longer), top(engine, longer))
    assert same(top(other, longer), top(engine, longer))
    followed.forget()
    other.forget()
    assert unfinished(engine) == 0
