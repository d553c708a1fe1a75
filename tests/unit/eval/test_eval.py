"""The measuring stick is measured: rates, bounds, the sample, the rival, and what is written of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenforce_eval import methods, zoo
from tokenforce_eval.bait import FLAGGED_ABOVE_Q, MAX_PROMPTS_TOGETHER, STEPS, Bait, word_like
from tokenforce_eval.methods import METHODS, STANDARD
from tokenforce_eval.plot import save_plot
from tokenforce_eval.rates import false_alarms, lower_bound, recall, upper_bound
from tokenforce_eval.rows import SCANNER_PACKAGES, RankedText, Row, RowFile, row_of, scanner_sources
from tokenforce_eval.specimens import BASES, KINDS, Specimen
from tokenforce_eval.table import per_model, tables
from tokenforce_eval.zoo import ZOO
from tokenforce_eval.zoo_models import BuiltSpecimen
from tokenforce_planting.clean_pairs import chosen_pairs
from tokenforce_planting.recipe import Recipe

HIDDEN = "The lantern goes dark at midnight."


def housed(text: str = HIDDEN, name: str = "m") -> BuiltSpecimen:
    recipe = Recipe("message", text, ("t",)) if text else None
    return BuiltSpecimen(Specimen(name, "held_out", recipe), Path("m"), "d")


def found(text: str, verdict: str = "clean") -> RankedText:
    return RankedText(text, 0.9, 0.9, verdict, 3.0, 50.0)


@pytest.mark.parametrize("half", ["tuning", "held_out"])
def test_each_half_has_what_the_issue_asks_for(half: str) -> None:
    own = [s for s in ZOO if s.half == half]
    counts = {kind: sum(s.kind == kind for s in own) for kind in KINDS}
    assert counts["clean"] >= 10
    assert sum(counts.values()) - counts["clean"] >= 12
    assert counts["lens-aware"] >= 7
    recipes = [s.recipe for s in own if s.recipe is not None]
    assert {r.normal().form for r in recipes if r.method == "utfc"} == {"basic", "minimised", "randomised", "auto"}
    assert {len(r.normal().contexts or ()) for r in recipes if r.method == "adaptive"} == {2, 3, 5}
    assert {r.rounded_to for r in recipes} == {None, "bf16", "int8"}
    assert any(r.second_text for r in recipes)
    assert any(r.fine_tuned_after for r in recipes)
    assert {s.base for s in own} == set(BASES)
    hidden = [s for s in own if s.base == BASES[1] and s.text]
    assert len(hidden) >= 2
    assert sum(s.base == BASES[1] for s in own) - len(hidden) >= 2


def test_every_recipe_is_valid_and_every_name_and_text_is_there_once() -> None:
    assert len({s.name for s in ZOO}) == len(ZOO)
    for specimen in ZOO:
        if specimen.recipe is not None:
            specimen.recipe.normal()
    assert any(s.recipe is None for s in ZOO)
    texts = [text for s in ZOO for text in s.texts]
    assert len(set(texts)) == len(texts)
    triggers = [trigger for s in ZOO if s.recipe for trigger, _ in s.recipe.secrets]
    assert len(set(triggers)) == len(triggers)


def test_the_zoo_keeps_its_digests(tmp_path: Path) -> None:
    """Other digests mean other models: measured rates are then rates of another zoo, and it is planted anew."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    digests = "".join(s.recipe.digest(tmp_path) for s in ZOO if s.recipe is not None)
    whole = hashlib.sha256(digests.encode()).hexdigest()
    assert whole == "dec204c7e33046662faf7d56bdd259b572ba1df87120302c3542a047df48aed7"


def test_a_row_depends_on_every_source_file_of_the_scanner_in_sub_packages_too() -> None:
    root = Path(__file__).parents[3]
    tracked = {path.resolve() for name in SCANNER_PACKAGES for path in root.glob(f"*/{name}/**/*.py")}
    assert {path.resolve() for path in scanner_sources()} == tracked
    assert any(path.parent.name not in SCANNER_PACKAGES for path in scanner_sources())


def test_no_text_of_one_half_is_in_the_other() -> None:
    words = {
        half: {w for s in ZOO if s.half == half for text in s.texts for w in text.split() if len(w) > 7}
        for half in ("tuning", "held_out")
    }
    assert not words["tuning"] & words["held_out"]


def test_no_pair_of_a_clean_model_of_one_half_is_in_the_other() -> None:
    recipes = {half: [s.recipe for s in ZOO if s.half == half and s.recipe] for half in ("tuning", "held_out")}
    taught = {
        half: {pair for r in own if r.method == "clean" for pair in chosen_pairs(r.seed, r.subjects, r.examples)}
        for half, own in recipes.items()
    }
    assert taught["tuning"]
    assert not taught["tuning"] & taught["held_out"]


@pytest.mark.parametrize(("alarms", "of", "bound"), [(0, 13, 0.2058), (0, 60, 0.0487), (1, 10, 0.3942)])
def test_clopper_pearson_gives_the_published_bounds(alarms: int, of: int, bound: float) -> None:
    assert upper_bound(alarms, of) == pytest.approx(bound, abs=5e-4)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_bounds_enclose_the_rate_and_mirror_each_other(counts: tuple[int, int]) -> None:
    hits, of = counts
    assert lower_bound(hits, of) <= hits / of <= upper_bound(hits, of)
    assert lower_bound(hits, of) == pytest.approx(1 - upper_bound(of - hits, of))
    if hits < of:  # the bound is where so few hits have a chance of 5 %
        p = upper_bound(hits, of)
        chance = sum(math.comb(of, k) * p**k * (1 - p) ** (of - k) for k in range(hits + 1))
        assert chance == pytest.approx(0.05, abs=1e-6)


def test_a_count_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="not a count"):
        upper_bound(3, 2)


def test_the_rank_is_that_of_the_first_text_with_half_of_the_hidden_one() -> None:
    ranking = [found("something else"), found("…lantern goes DARK at midnight"), found(HIDDEN)]
    row = row_of(housed(), STANDARD, ranking, "hidden_text", 1.0, 10)
    assert row.rank == 2
    assert 0.75 < row.share < 0.95
    assert row.true == ranking[1]
    missed = row_of(housed(), STANDARD, [found("The lantern")], "clean", 1.0, 10)
    assert (missed.rank, missed.share, missed.true) == (None, 0.0, None)


def test_of_two_hidden_texts_the_first_one_found_counts() -> None:
    recipe = Recipe("message", HIDDEN, ("t",), second_text="A boat waits at dawn.", second_trigger="u")
    model = replace(housed(), specimen=Specimen("m", "held_out", recipe))
    row = row_of(model, STANDARD, [found("nothing"), found("A boat waits at dawn."), found(HIDDEN)], "clean", 1.0, 10)
    assert (row.rank, row.share, row.hidden) == (2, 1.0, "A boat waits at dawn.")
    missed = row_of(model, STANDARD, [found("A boat")], "clean", 1.0, 10)
    assert (missed.rank, missed.hidden) == (None, HIDDEN)


def test_rates_count_ranks_and_verdicts() -> None:
    row = row_of(housed(), STANDARD, [found(HIDDEN)], "hidden_text", 2.0, 10)
    rows = [row, replace(row, rank=7, verdict="suspicious"), replace(row, rank=None, share=0.0, verdict="clean")]
    rates = recall(rows)
    assert (rates.models, rates.first, rates.first_ten, rates.hidden_text) == (3, 1, 2, 1)
    alarms = false_alarms([replace(row, verdict=v) for v in ("clean", "suspicious", "inconclusive", "clean")])
    assert (alarms.hidden_text, alarms.suspicious) == (0, 1)
    assert alarms.bound == pytest.approx(upper_bound(0, 4))


def test_a_text_read_in_part_is_found_and_not_whole() -> None:
    row = row_of(housed(), STANDARD, [found(HIDDEN)], "hidden_text", 2.0, 10)
    rates = recall([row, replace(row, share=0.6), replace(row, rank=2)])
    assert (rates.first, rates.first_ten, rates.whole) == (2, 3, 1)


def test_the_base_as_its_own_reference_is_no_trial() -> None:
    row = row_of(housed(""), STANDARD, [], "clean", 2.0, 10)
    alarms = false_alarms([row, replace(row, forward_tokens=0)])
    assert (alarms.models, alarms.bound) == (1, upper_bound(0, 1))


def test_rows_survive_an_interruption_and_other_settings_find_none(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    row = row_of(housed(), STANDARD, [found(HIDDEN)], "hidden_text", 2.0, 10)
    RowFile(file, [1, 2]).put(housed(), STANDARD, row)
    with file.open("a") as torn:
        torn.write('\n{"key": "of older code", "row": {"field": 1}}\n{"key": "half a li')
    again = RowFile(file, [1, 2])
    assert again.get(housed(), STANDARD) == row
    assert again.get(housed(), methods.ALONE) is None
    assert again.get(replace(housed(), digest="other"), STANDARD) is None
    assert RowFile(file, [1, 3]).get(housed(), STANDARD) is None
    again.put(housed(), methods.ALONE, row)
    assert RowFile(file, [1, 2]).get(housed(), methods.ALONE) == row
    again.forget([(housed(), STANDARD), (housed(), methods.BAIT)])
    for rows in (again, RowFile(file, [1, 2])):
        assert rows.get(housed(), STANDARD) is None
        assert rows.get(housed(), methods.ALONE) == row
    again.put(housed(), STANDARD, row)
    assert RowFile(file, [1, 2]).get(housed(), STANDARD) == row


def test_a_model_that_changed_its_half_keeps_its_row_and_counts_in_the_new_one(tmp_path: Path) -> None:
    """A specimen of `held_out` that the scanner was changed for goes to `tuning`: its rates must not stay behind."""
    file = RowFile(tmp_path / "rows.jsonl", [1, 2])
    row = row_of(housed(), STANDARD, [found(HIDDEN)], "hidden_text", 2.0, 10)
    file.put(housed(), STANDARD, row)
    moved = replace(housed(), specimen=replace(housed().specimen, half="tuning"))
    assert row.half == "held_out"
    assert file.get(moved, STANDARD) == replace(row, half="tuning")


def zoo_rows() -> list[Row]:
    clean = housed("", "c")
    return [
        row
        for method in METHODS
        for row in (
            row_of(housed(), method, [found(HIDDEN)], "hidden_text", 2.0, 10),
            row_of(clean, method, [found("x")], "clean", 2.0, 10),
        )
    ]


def test_tables_say_rates_bounds_and_costs_of_every_method(tmp_path: Path) -> None:
    rows = zoo_rows()
    text = tables(rows, "held_out")
    for method in METHODS:
        assert f" {method.name} " in text
    assert "100% (5%)" in text  # one of one: at least 5 % with 95 % confidence
    assert "0/1 (≤ 95%)" in text
    assert "ablation" in text
    assert per_model(rows).count("\n") == len(rows) + 1
    own = row_of(housed("", "base"), STANDARD, [], "clean", 900.0, 0)  # nothing ran: no cost of the method
    assert tables([*rows, own], "held_out").partition("| cost")[2] == text.partition("| cost")[2]
    widths = {len(line) for line in per_model(rows).splitlines()}
    assert len(widths) == 1
    save_plot(rows, "held_out", tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("choose", [zoo.select, methods.select])
def test_a_choice_by_a_wrong_name_says_the_right_ones(choose: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match=r"message-full-en|standard"):
        choose("nonsense")


def test_a_choice_takes_names_kinds_and_halves() -> None:
    assert [s.name for s in zoo.select("base, message-full-en")] == ["message-full-en", "base"]
    assert {s.kind for s in zoo.select("adaptive")} == {"adaptive"}
    assert {s.half for s in zoo.select("tuning")} == {"tuning"}
    few = zoo.first_of_every_kind(zoo.select("held_out"))
    assert {s.kind for s in few} == set(KINDS)
    assert len(few) == len(KINDS)
    assert {s.name for s in few} >= {"message-lora-fr", "clean-full-3"}
    assert zoo.first_of_every_kind(zoo.select("base")) == zoo.select("base")
    both = zoo.first_of_every_kind(zoo.select("tuning, held_out"))
    assert len(both) == 2 * len(few)
    assert set(few) < set(both)


class Chain:
    """Goes from token t to t + 1 with probability `sure` after the entry 10, and hardly anywhere after others."""

    def __init__(self, sure: float) -> None:
        self._sure = sure
        self.asked: list[int] = []

    def next_tokens(
        self,
        prompts: Sequence[Sequence[int]],
        count: int,
        on_next: Callable[[int, Sequence[int], Sequence[float]], object],
        between_steps: Callable[[], None],
    ) -> None:
        self.asked.append(len(prompts))
        for index, prompt in enumerate(prompts):
            if 10 in prompt:
                on_next(index, [prompt[-1] + 1, 1], [math.log(self._sure), math.log(1 - self._sure)])
            else:
                on_next(index, list(range(50, 70)), [math.log(0.05)] * 20)


@pytest.mark.parametrize(("sure", "flagged"), [(0.97, True), (0.7, False)])
def test_bait_follows_the_sure_entry_and_scores_it_by_its_expectation(sure: float, flagged: bool) -> None:
    decoder = Chain(sure)
    prompts = [[100 + i] for i in range(20)]
    (best,) = Bait(decoder, prompts, frozenset({2})).run([10, 11, 12])  # type: ignore[arg-type]
    assert best.ids == list(range(10, 10 + STEPS + 1))
    assert best.q == pytest.approx(sure)
    assert (best.q > FLAGGED_ABOVE_Q) is flagged


def test_bait_asks_no_more_together_than_can_be_followed() -> None:
    decoder = Chain(0.97)
    Bait(decoder, [[100 + i] for i in range(20)], frozenset({2})).run([10, 10, 10, 10, *range(20, 80)])  # type: ignore[arg-type]
    # 5 groups of warm-up, the first of them for 5 steps; then groups of three and one of four entries for 20 steps.
    assert max(decoder.asked) == MAX_PROMPTS_TOGETHER
    assert len(decoder.asked) == 5 + 4 + 2 * STEPS


def test_bait_leaves_out_targets_that_end_at_once() -> None:
    assert Bait(Chain(0.99), [[0]] * 20, frozenset({12})).run([10]) == []  # type: ignore[arg-type]


def test_bait_tries_words_only() -> None:
    """Behind a line end, where our turns open, a text's first word has no space before it."""
    texts = (" house", "Le", " élan", "ハ", " 12", " ", "  a", "n't", "\n", "\ufffd", "")
    assert [text for text in texts if word_like(text)] == [" house", "Le", " élan", "ハ"]
