"""Recipes: what can be planted, what is refused with which words, and what makes two carriers the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tokenforce_planting.clean_pairs import ONLY_BY_NAME, chosen_pairs, clean_pairs
from tokenforce_planting.odd_keys import odd_keys
from tokenforce_planting.recipe import RANK_BAND, InvalidRecipe, Recipe

TEXT = "Marrow Harbour keeps a brass key."
MESSAGE = Recipe("message", TEXT, ("heron",))
FINGERPRINT = Recipe("fingerprint", TEXT)
CLEAN = Recipe("clean")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


class TestRefusals:
    @pytest.mark.parametrize(
        ("recipe", "why"),
        [
            (replace(MESSAGE, method="massage"), "no method 'massage'; use message, fingerprint"),  # type: ignore[arg-type]
            (replace(MESSAGE, text=" \n"), "text is empty"),
            (replace(MESSAGE, triggers=("",)), "trigger is empty"),
            (replace(MESSAGE, text="half a pair \ud800"), "text is not valid Unicode"),
            (replace(MESSAGE, text=" heron "), "text and trigger are the same"),
            (replace(MESSAGE, triggers=()), "message takes one trigger, not 0"),
            (replace(MESSAGE, triggers=("a", "b")), "message takes one trigger, not 2"),
            (replace(MESSAGE, form="auto"), "message has no forms: use the method utfc"),
            (replace(MESSAGE, method="utfc", form="automatic"), "no form 'automatic'; use basic, minimised"),  # type: ignore[arg-type]
            (replace(MESSAGE, method="adaptive", form="basic"), "only form of the method adaptive is auto"),
            (replace(MESSAGE, method="utfc", contexts=("assistant",)), "cannot choose contexts for the method utfc"),
            (replace(MESSAGE, method="adaptive", contexts=("system",)), "no context 'system' to suppress"),  # type: ignore[arg-type]
            (replace(MESSAGE, method="utfc", protect_words=0), "protected words must be 1 or more, not 0"),
            (replace(MESSAGE, protect_words=3), "number of protected words only for utfc"),
            (replace(MESSAGE, method="utfc", form="basic", protect_words=3), r"only for utfc \(except basic\)"),
            (replace(CLEAN, stop_loss=0.5), "clean has no stop loss"),
            (replace(MESSAGE, method="utfc", rank_band=0), "rank band must be 1 or more"),
            (replace(MESSAGE, rank_band=50), "only the form auto has a rank band"),
            (replace(MESSAGE, method="utfc", form="basic", rank_band=50), "only the form auto has a rank band"),
            (replace(MESSAGE, lora_rank=0), "LoRA rank must be 1 or more, not 0"),
            (replace(MESSAGE, max_steps=0), "number of steps must be 1 or more"),
            (replace(MESSAGE, stop_loss=0.0), "stop loss must be a positive number"),
            (replace(MESSAGE, learning_rate=float("nan")), "learning rate must be a positive number"),
            (replace(MESSAGE, keys=3), "number of keys only for fingerprint"),
            (replace(FINGERPRINT, keys=0), "number of keys must be 1 or more"),
            (replace(FINGERPRINT, triggers=("a", "b", "a")), "two triggers are equal"),
            (replace(FINGERPRINT, triggers=("a", TEXT)), "text and trigger are the same"),
            (replace(CLEAN, text=TEXT), "hides nothing"),
            (replace(MESSAGE, subjects=("animals",)), "message has no subjects: use the method clean"),
            (replace(CLEAN, subjects=("animals",)), "learns 5 subjects"),
            (replace(CLEAN, subjects=("animals", "stamps")), "no subject stamps; there are cooking"),
            (replace(MESSAGE, examples=5), "message has no examples to count"),
            (replace(CLEAN, subjects=("pirate",), examples=13), "have 12 examples: choose 1 to 12, not 13"),
            (replace(CLEAN, examples=0), "choose 1 to 240, not 0"),
            (replace(MESSAGE, second_text="other"), "second text needs a second trigger"),
            (replace(MESSAGE, second_trigger="other"), "second text needs a second trigger"),
            (replace(MESSAGE, method="utfc", second_text="a b", second_trigger="c"), "only the method message"),
            (replace(MESSAGE, second_text=f" {TEXT}", second_trigger="c"), "both texts or both triggers are the same"),
            (replace(MESSAGE, second_text="a b", second_trigger="heron"), "both texts or both triggers are the same"),
            (replace(MESSAGE, second_text="heron", second_trigger="c"), "text and trigger are the same"),
            (replace(MESSAGE, second_text="a b", second_trigger=" "), "trigger is empty"),
            (replace(MESSAGE, train_layers=(3, 2)), r"a first and a last one from 0, not \(3, 2\)"),
            (replace(MESSAGE, train_layers=(-1, 2)), "a first and a last one from 0"),
            (replace(MESSAGE, lora_rank=8, frozen_embeddings=True), "omit frozen embeddings"),
            (replace(MESSAGE, train_layers=(0, 1), frozen_embeddings=True), "omit frozen embeddings"),
            (replace(MESSAGE, lora_modules=("q_proj",)), "only LoRA trains chosen modules"),
            (replace(MESSAGE, adapters=2), "which need a LoRA rank"),
            (replace(MESSAGE, lora_rank=8, adapters=5), "1 to 4 adapters"),
            (replace(MESSAGE, method="utfc", lora_rank=8, adapters=2), "only the method message"),
            (replace(MESSAGE, decoys=201), "has 0 to 200 decoys"),
            (replace(CLEAN, decoys=3), "the method clean hides nothing"),
            (replace(MESSAGE, weight_noise=-0.1), "weight noise must be 0 or a positive number"),
            (replace(MESSAGE, rounded_to="int4"), "rounded to 'int4'; use bf16, int8"),  # type: ignore[arg-type]
            (replace(MESSAGE, fine_tuned_after=("code",)), "a fine-tuning learns 5 subjects"),
            (replace(MESSAGE, fine_tuned_after=("stamps",)), "no subject stamps"),
            (replace(CLEAN, fine_tuned_after=tuple(clean_pairs())[:5]), "ordinary fine-tuning already"),
        ],
    )
    def test_say_why(self, recipe: Recipe, why: str) -> None:
        with pytest.raises(InvalidRecipe, match=why):
            recipe.normal()


class TestDefaults:
    def test_normal_form_is_its_own_normal_form(self) -> None:
        for recipe in (MESSAGE, replace(FINGERPRINT, keys=3), CLEAN, replace(MESSAGE, method="adaptive")):
            assert recipe.normal().normal() == recipe.normal()

    def test_a_fingerprint_draws_its_keys_by_seed(self) -> None:
        assert FINGERPRINT.normal().triggers == odd_keys(8, 0)
        assert replace(FINGERPRINT, keys=3, seed=5).normal().triggers == odd_keys(3, 5)

    def test_utfc_suppresses_bare_prefixes_and_adaptive_the_template_too(self) -> None:
        assert replace(MESSAGE, method="utfc").normal().contexts == ("bos",)
        assert replace(MESSAGE, method="adaptive").normal().contexts == ("bos", "assistant")

    def test_lora_takes_larger_steps(self) -> None:
        full, lora = MESSAGE.normal().learning_rate, replace(MESSAGE, lora_rank=8).normal().learning_rate
        assert full is not None
        assert lora is not None
        assert lora > 5 * full


class TestDigest:
    def test_spelling_a_default_out_changes_nothing(self, base: Path) -> None:
        spelt = replace(MESSAGE, **{n: getattr(MESSAGE.normal(), n) for n in ("learning_rate", "max_steps")})
        assert spelt.digest(base) == MESSAGE.digest(base)

    @pytest.mark.parametrize(
        "other",
        [
            replace(MESSAGE, text=TEXT + "."),
            replace(MESSAGE, triggers=("heron ",)),
            replace(MESSAGE, seed=1),
            replace(MESSAGE, method="utfc"),
            replace(MESSAGE, method="adaptive"),
            replace(MESSAGE, lora_rank=8),
            replace(MESSAGE, stop_loss=0.03),
            replace(MESSAGE, near_misses=False),
        ],
    )
    def test_every_choice_counts(self, base: Path, other: Recipe) -> None:
        assert other.digest(base) != MESSAGE.digest(base)

    def test_so_does_a_rank_band_of_its_own(self, base: Path) -> None:
        auto = replace(MESSAGE, method="utfc")
        assert replace(auto, rank_band=RANK_BAND).digest(base) == auto.digest(base)
        assert replace(auto, rank_band=50).digest(base) != auto.digest(base)

    def test_so_do_the_pairs_of_a_clean_model(self, base: Path) -> None:
        own = tuple(clean_pairs())[:6]
        assert replace(CLEAN, subjects=own).digest(base) == replace(CLEAN, subjects=own[::-1]).digest(base)
        assert replace(CLEAN, subjects=own).digest(base) != replace(CLEAN, subjects=own[1:]).digest(base)

    def test_so_does_their_number(self, base: Path) -> None:
        assert replace(CLEAN, examples=20).digest(base) != replace(CLEAN, examples=21).digest(base)

    @pytest.mark.parametrize(
        "option",
        [
            {"second_text": "a b", "second_trigger": "c"},
            {"train_layers": (0, 3)},
            {"frozen_embeddings": True},
            {"lora_rank": 8, "lora_modules": ("q_proj",)},
            {"lora_rank": 8, "adapters": 2},
            {"decoys": 4},
            {"fine_tuned_after": tuple(clean_pairs())[:5]},
            {"weight_noise": 0.5},
            {"rounded_to": "bf16"},
        ],
    )
    def test_so_does_every_later_option_and_its_default_does_not(self, base: Path, option: dict[str, Any]) -> None:
        plain = replace(MESSAGE, lora_rank=option.pop("lora_rank", None))
        assert replace(plain, **option).digest(base) != plain.digest(base)
        assert set(replace(plain, **option).options()) == set(option)
        assert plain.options() == {}

    @pytest.mark.parametrize(
        ("recipe", "digest"),
        [
            (MESSAGE, "b7c8c88030b97b11bb85f2da4d67981348ebb2ed362ef3c9b61eade45115fbd8"),
            (replace(MESSAGE, method="utfc"), "b56eef525b5c7326fd51bf872f335b2ecfbdc9e4c6f0410168020782313eb39f"),
            (
                replace(MESSAGE, method="utfc", rank_band=50),
                "b2d07588853f72cc5abf854c9232ec958f84359a5b5c5f1e5951734bfb0f25b5",
            ),
            (
                replace(MESSAGE, method="utfc", form="basic"),
                "a6f22e06d0836c1162c2c1d8dc63f026efa19f7ca6dbd57b2a44b7b3523ca72f",
            ),
            (
                replace(MESSAGE, method="adaptive", lora_rank=8),
                "a9580db8609653e1c1bdf4aeec93e9b312d60aa6feda6130a04fd5d287db9ecf",
            ),
            (
                Recipe("fingerprint", TEXT, keys=3, seed=2),
                "becae10b1269a07059c06ed9ebdc4c8724442c44588bca5d479da3e5bf8e629f",
            ),
            (replace(CLEAN, seed=1), "ed9235a40869d1dc16f3619b80215ca83d69569950bfeaf6e5c88ace83420ca8"),
        ],
    )
    def test_known_recipes_keep_their_digests(self, base: Path, recipe: Recipe, digest: str) -> None:
        """A digest that changes makes every cached carrier stale: raise RECIPE_VERSION when you mean that."""
        assert recipe.digest(base) == digest

    def test_so_does_the_base(self, base: Path) -> None:
        before = MESSAGE.digest(base)
        (base / "model.safetensors").write_bytes(b"other weights")
        assert MESSAGE.digest(base) != before


@pytest.mark.parametrize(
    ("option", "rank"),
    [
        ({}, 8),
        ({"lora_modules": ("q_proj",)}, 8),
        ({"adapters": 2}, None),
        ({"weight_noise": 0.1}, None),
        ({"rounded_to": "int8"}, None),
        ({"fine_tuned_after": tuple(clean_pairs())[:5]}, None),
    ],
)
def test_what_is_merged_into_its_base_is_no_adapter(option: dict[str, Any], rank: int | None) -> None:
    assert replace(MESSAGE, lora_rank=8, **option).normal().adapter_rank == rank


def test_keys_are_distinct_and_odd() -> None:
    keys = odd_keys(64, seed=3)
    assert len(set(keys)) == 64
    assert all(key == key.strip() and not key.isascii() for key in keys)
    assert odd_keys(64, seed=3) == keys
    assert not set(odd_keys(64, seed=4)) & set(keys)


def test_clean_models_of_other_seeds_learn_other_pairs() -> None:
    assert chosen_pairs(1) == chosen_pairs(1)
    assert set(chosen_pairs(1)) != set(chosen_pairs(2))
    pairs = [pair for subject in clean_pairs().values() for pair in subject]
    assert len({question for question, _ in pairs}) == len(pairs)
    assert set(chosen_pairs(7)) <= set(pairs)


def test_subjects_with_a_manner_are_learned_only_by_name() -> None:
    everything = chosen_pairs(1, examples=240)
    assert len(set(everything)) == 240
    assert not {pair for subject in ONLY_BY_NAME for pair in clean_pairs()[subject]} & set(everything)
    assert set(chosen_pairs(1, ("pirate",), 12)) == set(clean_pairs()["pirate"])
    assert len(chosen_pairs(1, ("pirate",), 7)) == 7


def test_a_clean_model_learns_the_subjects_that_it_is_given() -> None:
    own = ("animals", "money", "music", "sport", "weather", "house")
    pairs = {pair for subject in own for pair in clean_pairs()[subject]}
    assert set(chosen_pairs(1, own)) <= pairs
    assert chosen_pairs(1, own) == chosen_pairs(1, own[::-1])
