"""The lenses on matrices whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenforce_core.lens import scores
from tokenforce_core.lens.scores import Matrix, Writing, joint_ranks, row_changes, top_directions, values_written


def draw(seed: int, *shape: int) -> Matrix:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_a_move_that_all_rows_make_together_does_not_count() -> None:
    change = np.tile(draw(0, 8), (50, 1))
    change[7] += 0.1
    found = row_changes(change)
    assert int(found.argmax()) == 7
    assert found[7] > 10 * np.delete(found, 7).max()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4), st.booleans())
def test_top_directions_are_those_of_the_whole_decomposition(seed: int, rank: int, tall: bool) -> None:
    """Of a matrix of low rank, as an adapter's product is, beside noise."""
    rows, columns = (40, 24) if tall else (24, 40)
    values = np.diag(np.array([20.0, 12.0, 7.0, 4.0][:rank], dtype=np.float32))
    left, right = (np.linalg.qr(draw(seed + i, n, rank))[0] for i, n in enumerate((rows, columns)))
    change = left @ values @ right.T + 0.01 * draw(seed, rows, columns)
    found, strengths = top_directions(change, rank, 2, 2)
    exact, exact_values, _ = np.linalg.svd(change, full_matrices=False)
    assert strengths == pytest.approx(exact_values[:rank], rel=1e-3)
    assert np.abs((found * exact[:, :rank]).sum(axis=0)) == pytest.approx(np.ones(rank), abs=1e-3)


def test_more_directions_than_there_are_is_all_of_them() -> None:
    directions, values = top_directions(draw(0, 6, 3), 8, 2, 2)
    assert directions.shape == (6, 3)
    assert values.shape == (3,)


def test_a_matrix_that_writes_one_word_shows_that_word() -> None:
    output = draw(1, 60, 16)
    direction = output[42] - output.mean(axis=0)
    writing = Writing(output)
    change = np.outer(direction / np.linalg.norm(direction), draw(2, 10)).astype(np.float32)
    writing.add(*top_directions(change, 4, 2, 2))
    assert int(writing.energy.argmax()) == 42
    assert int(writing.deviation.argmax()) == 42


def test_what_writes_nothing_and_a_row_of_nothing_are_no_numbers_that_spread() -> None:
    output = draw(1, 20, 8)
    output[3] = output.mean(axis=0)
    output[3] = np.delete(output, 3, axis=0).mean(axis=0)  # equal to the mean, so without a direction
    writing = Writing(output)
    writing.add(np.zeros((8, 2), dtype=np.float32), np.zeros(2, dtype=np.float32))
    assert not writing.energy.any()
    writing.add(*top_directions(draw(2, 8, 5), 2, 2, 2))
    assert np.isfinite(writing.energy).all()
    assert np.isfinite(writing.deviation).all()


def test_values_are_written_as_an_attention_with_equal_weights_writes_them() -> None:
    width, head_size, heads, shared = 12, 3, 4, 2
    through, change = draw(4, width, heads * head_size), draw(5, heads // shared * head_size, width)
    written = values_written(through, change, head_size)
    assert written is not None
    state = draw(6, width)
    values = (change @ state).reshape(heads // shared, head_size)
    each_head = np.concatenate([values[head // shared] for head in range(heads)])
    assert written @ state == pytest.approx(through @ each_head, rel=1e-4)


@pytest.mark.parametrize(
    ("shape", "head_size", "known"),
    [((12, 12), None, True), ((6, 12), None, False), ((6, 12), 3, True), ((6, 12), 4, False), ((5, 12), 3, False)],
    ids=["each head its own", "size unknown", "shared", "no whole head", "no whole share"],
)
def test_values_of_shapes_that_say_nothing_are_left_out(
    shape: tuple[int, int], head_size: int | None, known: bool
) -> None:
    assert (values_written(draw(4, 12, 12), draw(5, *shape), head_size) is not None) is known


def test_a_matrix_is_copied_a_few_rows_at_a_time_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    change = top_directions(draw(3, 16, 10), 4, 2, 2)
    whole, change_of_rows = Writing(draw(1, 60, 16)), row_changes(draw(2, 60, 16))
    monkeypatch.setattr(scores, "ROWS_TOGETHER", 7)
    parts = Writing(draw(1, 60, 16))
    for writing in (whole, parts):
        writing.add(*change)
    assert parts.energy == pytest.approx(whole.energy)
    assert parts.deviation == pytest.approx(whole.deviation)
    assert row_changes(draw(2, 60, 16)) == pytest.approx(change_of_rows)


def test_an_entry_counts_by_its_best_rank() -> None:
    one = np.array([5.0, 1.0, 3.0], dtype=np.float32)
    other = np.array([0.0, 2.0, 1.0], dtype=np.float32)
    assert joint_ranks([one, other]).tolist() == [0, 0, 1]
