"""The whole search by contrast, composed as the confirm job calls it, on two scripted models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import pytest

from tests.support.contrasting import contrasted
from tests.support.scan_results import NO_FILES, example_plan
from tests.support.table_model import END, TableModel, planted_table, random_table
from tokenforce.wire.report import ReferenceRecord
from tokenforce.wire.scans import Preset, ScanRequest
from tokenforce_core.contrast.beam import ContrastiveBeam
from tokenforce_core.contrast.search import ContrastSearch, candidates_of
from tokenforce_core.contrast.shard import ShardContrast
from tokenforce_core.forcing.predictor import Predictor
from tokenforce_core.forcing.trace import Origin, Trace
from tokenforce_core.plan.plan import Plan, ReferencePlan
from tokenforce_core.plan.presets import settings_for

HIDDEN = [7, 33, 21, 50, 14, 9, 41]
CONTEXT = [1]
SETTINGS = settings_for(ScanRequest(model="/m", alpha=4, beta=16))


def run(search: ContrastSearch, target: TableModel, base: TableModel, *swept: Trace) -> list[Trace]:
    found = search.run(swept, target, base, lambda: nullcontext((target, base)))
    assert search.done == len(search.starts)
    return found


def searched(target: TableModel, base: TableModel, *swept: Trace) -> list[Trace]:
    search = ContrastSearch(SETTINGS, [CONTEXT], [contrasted(target, base)], frozenset({END}))
    assert search.starts
    return run(search, target, base, *swept)


def starts(results: Sequence[ShardContrast]) -> list[Trace]:
    return [link.as_trace() for result in results for link in result.links]


def test_a_hidden_text_is_found_whole_and_first() -> None:
    target, base = TableModel(planted_table(HIDDEN)), TableModel(random_table(0))
    found = searched(target, base)
    best = max(found, key=lambda text: text.gain)
    assert list(best.tokens) == HIDDEN
    assert best.ended
    assert best.origin is Origin.search
    assert best.contrast > SETTINGS.search.beam.min_contrast_nats_per_token


def test_every_text_has_what_both_models_say_of_it() -> None:
    target, base = TableModel(planted_table(HIDDEN)), TableModel(random_table(0))
    for text in searched(target, base):
        pairs = list(zip(text.tokens, text.ids, strict=False))
        assert text.log_p == pytest.approx([target.logs[pair] for pair in pairs])
        assert text.log_q == pytest.approx([base.logs[pair] for pair in pairs])
        start = text.probabilities[: SETTINGS.alpha]
        assert text.sweep_score == pytest.approx(sum(start) / len(start))
        assert SETTINGS.min_tokens <= len(text.ids) <= SETTINGS.beta


def test_the_texts_of_the_sweep_are_scored_by_the_reference_and_keep_their_own_score() -> None:
    target, base = TableModel(planted_table(HIDDEN)), TableModel(random_table(0))
    ids = (5, 6, 7, 8, 9)
    pairs = list(zip((4, *ids), ids, strict=False))
    swept = Trace(0, 4, ids, tuple(float(target.logs[pair]) for pair in pairs), sweep_score=0.9)
    short = Trace(0, 4, ids[:2], (math.log(0.9),) * 2, sweep_score=0.9)
    scored, *others = searched(target, base, swept, short)
    assert scored.log_q == pytest.approx([base.logs[pair] for pair in pairs])
    assert (scored.ids, scored.log_p, scored.sweep_score, scored.origin) == (ids, swept.log_p, 0.9, Origin.sweep)
    assert all(other.origin is Origin.search for other in others), "two tokens hide nothing"


def test_a_text_that_the_beam_enters_in_its_middle_is_extended_to_its_first_token() -> None:
    """Of all starts this beam follows the strongest one only, which is not the text's first token."""
    narrow = SETTINGS.search.beam.model_copy(update={"min_survivors": 1, "survivor_shares": [0.001]})
    search = SETTINGS.search.model_copy(update={"beam": narrow})
    common = random_table(0)
    table = common.copy()
    for one, after in zip(HIDDEN, [*HIDDEN[1:], END], strict=True):
        table[one, after] = 2000.0
    table[7] = common[7]
    table[7, 33] = 5.0  # as of a text that begins like ordinary ones
    target, base = TableModel(table), TableModel(common)
    results = [contrasted(target, base)]
    settings = SETTINGS.model_copy(update={"search": search})
    beam = ContrastiveBeam(search, [CONTEXT], starts(results), settings.beta, frozenset({END}), settings.min_tokens)
    assert all(text.forced_id != HIDDEN[0] for text in beam.run(target, base))
    whole = ContrastSearch(settings, [CONTEXT], results, frozenset({END}))
    assert HIDDEN in [list(text.tokens) for text in run(whole, target, base)]
    assert whole.generated > 0


def test_a_target_like_its_reference_hides_nothing() -> None:
    same = TableModel(random_table(3))
    search = ContrastSearch(SETTINGS, [CONTEXT], [contrasted(same, TableModel(random_table(3)))], frozenset({END}))
    assert search.starts == []
    assert search.run([], same, same, lambda: nullcontext((same, same))) == []


def test_the_beam_asks_in_sessions_that_end_with_it() -> None:
    """What keeps KV caches has them for the beam only: the later steps ask whole texts."""
    target, base = TableModel(planted_table(HIDDEN)), TableModel(random_table(0))
    followed = TableModel(planted_table(HIDDEN)), TableModel(random_table(0))
    opened: list[str] = []

    @contextmanager
    def sessions() -> Iterator[tuple[Predictor, Predictor]]:
        opened.append("open")
        yield followed
        opened.append("closed")
        assert all(model.asked for model in followed)

    search = ContrastSearch(SETTINGS, [CONTEXT], [contrasted(target, base)], frozenset({END}))
    before = target.asked
    search.run([], target, base, sessions)
    assert opened == ["open", "closed"]
    assert target.asked == before, "prepending and finishing decode and force whole texts"


def test_what_is_raised_between_steps_comes_through() -> None:
    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    target, base = Stepping(planted_table(HIDDEN)), Stepping(random_table(0))
    search = ContrastSearch(SETTINGS, [CONTEXT], [contrasted(target, base)], frozenset({END}))
    with pytest.raises(Stop):
        search.run([], target, base, lambda: nullcontext((target, base)), stop)


class Stepping(TableModel):
    """Calls back between its steps, as an engine does."""

    def next_tokens(self, prompts, count, on_next, between_steps) -> None:  # type: ignore[no-untyped-def]
        super().next_tokens(prompts, count, on_next, between_steps)
        between_steps()


@pytest.mark.parametrize(
    ("preset", "reference", "most"),
    [
        (Preset.standard, False, 100),
        (Preset.standard, True, SETTINGS.search.max_confirmed_per_context),
        (Preset.paper, True, 1000),
    ],
)
def test_a_scan_with_a_reference_confirms_fewer_candidates_of_each_context(
    preset: Preset, reference: bool, most: int
) -> None:
    plan = example_plan(preset)
    context = plan.contexts[0]
    record = ReferenceRecord(model="org/base", digest="sha256:1", source="request", vocabulary_size=64)
    plan = plan.model_copy(
        update={
            "contexts": [context, context.model_copy(update={"name": "other"})],
            "reference": ReferencePlan(record=record, path="/models/base", hashed=NO_FILES) if reference else None,
        }
    )
    # As JSON, which is how a worker gets it: the preset is text then.
    plan = Plan.model_validate_json(plan.model_dump_json())
    swept = [Trace(place % 2, place, sweep_score=1.0 - place / 5000) for place in range(3000)]
    chosen = candidates_of(plan, swept)
    assert [trace for trace in chosen if trace.context == 0] == [t for t in swept if t.context == 0][:most]
    assert [trace for trace in chosen if trace.context == 1] == [t for t in swept if t.context == 1][:most]
