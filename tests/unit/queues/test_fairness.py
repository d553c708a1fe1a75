"""Whose shard comes next: better priorities first, and nobody waits for ever."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenforce.wire.scans import Priority
from tokenforce_core.queues.fairness import PATIENCE, QueueTurns
from tokenforce_core.queues.jobs import model_of, model_queue, priority_of

FAIR = 3


def taken(turns: QueueTurns, waiting: dict[str, int], shards: int) -> list[str]:
    """The queues that a worker takes `shards` shards from while all of them stay as full as they are."""
    order = []
    for _ in range(shards):
        name = turns.order(waiting)[0]
        turns.took(name, waiting)
        order.append(name)
    return order


@pytest.mark.parametrize("priority", list(Priority))
@pytest.mark.parametrize("dtype", ["bfloat16", None])
def test_a_queue_name_tells_its_model_and_its_priority(priority: Priority, dtype: str | None) -> None:
    name = model_queue("sha256:00ff00ff00ff00ff00ff", dtype, priority)
    assert priority_of(name) is priority
    assert model_of(name) == model_queue("sha256:00ff00ff00ff00ff00ff", dtype)


def test_a_high_scan_goes_before_what_waits_even_of_the_warm_model() -> None:
    turns = QueueTurns(FAIR)
    turns.took("scan.a", {"scan.a": 5})
    assert turns.order({"scan.a": 5, "scan.b.high": 1, "scan.c.low": 9}) == ["scan.b.high", "scan.a", "scan.c.low"]


def test_the_warm_model_stays_warm_across_priorities() -> None:
    turns = QueueTurns(FAIR)
    turns.took("scan.a.high", {"scan.a.high": 1})
    assert turns.order({"scan.a": 1, "scan.b": 9})[0] == "scan.a"


def test_a_short_queue_is_served_beside_two_long_ones() -> None:
    waiting = {"scan.a": 900, "scan.b": 800, "scan.c": 1}
    assert taken(QueueTurns(FAIR), waiting, 3 * FAIR) == ["scan.a"] * FAIR + ["scan.b"] * FAIR + ["scan.c"] * FAIR


def test_a_low_scan_gets_a_fifth_while_better_work_keeps_coming() -> None:
    waiting = {"scan.a.high": 10, "scan.b.low": 10}
    rounds = taken(QueueTurns(FAIR), waiting, 4 * (PATIENCE + 1) * FAIR)
    one = ["scan.a.high"] * (PATIENCE * FAIR) + ["scan.b.low"] * FAIR
    assert rounds == one * 4


def test_patience_is_not_saved_up_while_nothing_waits() -> None:
    turns = QueueTurns(FAIR)
    both = {"scan.a.high": 10, "scan.b.low": 10}
    taken(turns, both, PATIENCE * FAIR - 1)
    taken(turns, {"scan.a.high": 10}, 1)
    assert taken(turns, both, PATIENCE * FAIR) == ["scan.a.high"] * (PATIENCE * FAIR)


@given(
    names=st.sets(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["", ".low", ".high"])).map(lambda t: f"scan.{t[0]}{t[1]}"),
        min_size=1,
    ),
    lengths=st.lists(st.integers(1, 50), min_size=12, max_size=12),
    fair=st.integers(1, 3),
)
@settings(deadline=None)
def test_every_queue_is_served_again_and_again(names: set[str], lengths: list[int], fair: int) -> None:
    waiting = dict(zip(sorted(names), lengths, strict=False))
    # A class has its turn at least every `round` shards, and serves in it, warm or not, the one that waited longest.
    one_round = (PATIENCE + 2) * fair
    longest = one_round * 2 * 4
    order = taken(QueueTurns(fair), waiting, 4 * longest)
    for name in names:
        turns = [-1, *(i for i, took in enumerate(order) if took == name), len(order)]
        assert max(b - a for a, b in itertools.pairwise(turns)) <= longest
    assert set(order) == names
