"""Phase 1: exact pruning gives what decoding everything gives, whatever the shards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.scripted_decoder import ScriptedDecoder, log
from tokenforce.wire.scans import ScanRequest
from tokenforce.wire.settings import SettingsRecord
from tokenforce_core.forcing.scoring import score
from tokenforce_core.forcing.sweep import Kept, Sweep, best_first
from tokenforce_core.forcing.trace import Trace, probabilities
from tokenforce_core.plan.presets import settings_for

END = 0
CONTEXT = [7, 7]

# Few distinct values on purpose: ties and exact ones are where pruning could go wrong.
some_probabilities = st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.9, 0.97, 1.0]) | st.floats(0, 1)
continuations = st.lists(st.tuples(st.integers(0, 4), some_probabilities), min_size=8, max_size=8)
vocabularies = st.lists(continuations, min_size=1, max_size=24)


def settings(**changes: object) -> SettingsRecord:
    standard = settings_for(ScanRequest(model="/m", alpha=8, keep=4, floor=0.5))
    return standard.model_copy(update={"min_tokens": 3, **changes})


def decode_everything(script: list[list[tuple[int, float]]], chosen: SettingsRecord) -> list[Trace]:
    """The same scores without any pruning, written a second time and plainly."""
    found = []
    for forced, continuation in enumerate(script):
        ids, values, ended = [], [], False
        for token_id, probability in continuation[: chosen.alpha]:
            if chosen.stop_at_end and token_id == END:
                ended = True
                break
            ids.append(token_id)
            values.append(log(probability))
        value = score(probabilities(values), chosen)
        if value is not None and value > chosen.floor:
            found.append(Trace(0, forced, tuple(ids), tuple(values), ended=ended, sweep_score=value))
    return sorted(found, key=best_first)[: chosen.keep]


def sweep(
    script: list[list[tuple[int, float]]], chosen: SettingsRecord, forced: list[int], known: float = 0.0
) -> Sweep:
    run = Sweep(chosen, 0, CONTEXT, forced, frozenset({END}), known_best=known)
    run.run(ScriptedDecoder(lambda prompt: script[prompt[-1]]))
    return run


@given(vocabularies, st.sampled_from([True, False]), st.sampled_from([True, False]))
def test_pruned_is_unpruned(script: list[list[tuple[int, float]]], stop: bool, forced_counts: bool) -> None:
    chosen = settings(stop_at_end=stop, count_forced_token=forced_counts)
    run = sweep(script, chosen, list(range(len(script))))
    assert run.kept.best() == decode_everything(script, chosen)
    assert run.done == len(script)


@given(vocabularies, st.integers(1, 24))
def test_shards_merge_to_the_whole(script: list[list[tuple[int, float]]], size: int) -> None:
    """Shards that know each other's K-th best keep together exactly what one shard keeps."""
    chosen = settings()
    merged: list[Trace] = []
    for start in range(0, len(script), size):
        ranked = sorted(merged, key=best_first)
        known = ranked[chosen.keep - 1].sweep_score if len(ranked) >= chosen.keep else 0.0
        merged += sweep(script, chosen, list(range(len(script)))[start : start + size], known).kept.best()
    assert sorted(merged, key=best_first)[: chosen.keep] == decode_everything(script, chosen)


def test_pruning_saves_tokens() -> None:
    chosen = settings(floor=0.9)
    decoder = ScriptedDecoder(lambda prompt: [(1, 0.2)] * 8)
    Sweep(chosen, 0, CONTEXT, list(range(50)), frozenset({END})).run(decoder)
    assert decoder.generated == 2 * 50  # after one token (0.2 + 7) / 8 is still 0.9, after two it is 0.8


def test_short_texts_are_no_candidates() -> None:
    script = [[(1, 1.0), (2, 1.0), (END, 1.0)] + [(1, 1.0)] * 5]
    assert sweep(script, settings(), [0]).kept.best() == []
    assert len(sweep(script, settings(min_tokens=2), [0]).kept.best()) == 1


def test_the_floor_itself_is_not_kept() -> None:
    kept = Kept(settings(floor=0.5))
    kept.offer(Trace(0, 1, (1,), (log(0.5),), sweep_score=0.5))
    assert kept.best() == []


def test_what_between_steps_raises_comes_through() -> None:
    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    decoder = ScriptedDecoder(lambda prompt: [(1, 0.9)] * 8)
    with pytest.raises(Stop):
        Sweep(settings(), 0, CONTEXT, [1], frozenset()).run(decoder, stop)
