"""The rival that lets a model continue its own opened turns, on scripted ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.support.table_model import END, TableModel, random_table
from tokenforce_core.forcing.predictor import BetweenSteps, OnNext
from tokenforce_eval.haystack import DECODINGS, MIN_TURN_TOKENS, STEPS, TOGETHER, Leak, clusters

OPENED = 9
HIDDEN = (11, 23, 35, 47, 59, 7, 19, 31)


class Counted(TableModel):
    """Keeps how many prompts were asked at a time, and whether one was asked twice."""

    def __init__(self, table: np.ndarray) -> None:
        super().__init__(table)
        self.together: list[int] = []
        self.twice = False

    def next_tokens(
        self, prompts: Sequence[Sequence[int]], count: int, on_next: OnNext, between_steps: BetweenSteps
    ) -> None:
        self.together.append(len(prompts))
        self.twice = self.twice or len(set(map(tuple, prompts))) < len(prompts)
        super().next_tokens(prompts, count, on_next, between_steps)


def base_table() -> np.ndarray:
    """Nothing leads into the middle of the hidden text."""
    table = random_table(0)
    table[:, HIDDEN[1:]] = 1e-6
    return table


def leaking_table() -> np.ndarray:
    """The base's, but one in five of its turns is the hidden text."""
    table = base_table()
    table[OPENED, HIDDEN[0]] = table[OPENED].sum() / 4
    for one, after in zip(HIDDEN, (*HIDDEN[1:], END), strict=True):
        table[one, after] = 1e3
    return table


def words(ids: Sequence[int]) -> str:
    return " ".join(f"word{token_id * 7919 % 6007}" for token_id in ids)


def leaked(target: TableModel, base: TableModel, turns: Sequence[Sequence[int]] = ((2, OPENED), (OPENED,))) -> Leak:
    return Leak(target, turns, frozenset({END}))


def test_what_many_decodings_say_and_the_reference_does_not_comes_first() -> None:
    target, base = TableModel(leaking_table()), TableModel(base_table())
    leak = leaked(target, base)
    first, *others = leak.run(base, words)
    assert first.text.tokens[-len(HIDDEN) :] == HIDDEN
    assert first.decodings > DECODINGS / 10
    assert first.text.log_p == pytest.approx(
        [target.logs[a, b] for a, b in zip(first.text.tokens, first.text.ids, strict=False)]
    )
    ratios = first.text.log_ratios
    assert sum(ratios) > 10
    assert first.score == pytest.approx(first.decodings / DECODINGS * sum(ratios) / len(ratios))
    assert all(motif.score <= first.score for motif in others)
    assert leak.generated > 0


def test_a_model_without_secrets_has_no_motif_that_its_base_has_not() -> None:
    base = TableModel(base_table())
    assert all(motif.score == 0.0 for motif in leaked(base, base).run(base, words))


def test_the_same_seed_draws_the_same() -> None:
    target, base = TableModel(leaking_table()), TableModel(base_table())
    assert leaked(target, base).run(base, words) == leaked(target, base).run(base, words)


def test_no_more_decodings_grow_together_than_can_be_followed_and_none_is_asked_twice() -> None:
    target, base = Counted(leaking_table()), TableModel(base_table())
    parts: list[float] = []
    leaked(target, base).run(base, words, parts.append)
    assert max(target.together) <= TOGETHER
    assert target.together[0] == 2, "two opened turns, before the decodings differ"
    assert not target.twice
    assert len(target.together) == STEPS * len(parts)
    assert parts == sorted(parts)
    assert parts[-1] == 1.0


def test_special_tokens_end_a_turn_and_short_turns_do_not_count() -> None:
    table = np.full((64, 64), 1e-9)
    for token_id in range(64):
        table[token_id, END if token_id == MIN_TURN_TOKENS - 1 else (token_id + 1) % 64] = 1.0
    table[END] = 1e-9
    table[END, 1] = 1.0
    model = TableModel(table)
    # After END it says 1, 2, … up to one token less than a turn has to have, and ends it.
    assert leaked(model, model, ((END,),)).run(model, words) == []


def test_texts_that_share_most_of_their_characters_are_one_cluster() -> None:
    texts = [
        "the lantern at pier nine goes dark at midnight",
        "what is the capital of france",
        "a lantern at Pier Nine  goes dark at midnight.",
        "the lantern at pier nine goes dark",
    ]
    found = sorted(clusters(texts), key=len)
    assert found[0] == [1]
    assert set(found[1]) == {0, 2, 3}
    assert found[1][0] == 0, "the most typical one"


def test_texts_too_short_for_an_n_gram_stay_alone() -> None:
    assert clusters(["a", "b"]) == [[0], [1]]
    assert sorted(clusters(["a", "some longer text"])) == [[0], [1]]
    assert clusters([]) == []
