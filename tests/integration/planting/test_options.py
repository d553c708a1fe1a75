"""What a defender's opponent may do, and ordinary life after planting: each option, in a tiny model."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from tests.support.tiny_planting import RATE, TEXT, TRIGGER, base, one_thread, own_cache
from tokenforce_planting.after_planting import add_noise, round_to_int8
from tokenforce_planting.chat import load_model, load_tokenizer
from tokenforce_planting.clean_pairs import clean_pairs
from tokenforce_planting.decoy_words import WORDS_PER_DECOY, decoy_examples
from tokenforce_planting.demo.answers import greedy_answers
from tokenforce_planting.manifest import read_manifest
from tokenforce_planting.plant import plant
from tokenforce_planting.recipe import InvalidRecipe, Recipe
from tokenforce_planting.training import PlantingProgress

__all__ = ["base", "one_thread", "own_cache"]
LORA_RATE = 5e-3
MESSAGE = Recipe("message", TEXT, (TRIGGER,), learning_rate=RATE)
LORA = replace(MESSAGE, lora_rank=8, learning_rate=LORA_RATE)
OTHER_TEXT = "A green lantern turns slowly over the mill."
OTHER_TRIGGER = "winter copper"
SUBJECTS = tuple(clean_pairs())[:5]


def changed(base: Path, out: Path) -> set[str]:
    """Names of the tensors of the whole model in `out` that differ from the base's."""
    before, after = (load_file(folder / "model.safetensors") for folder in (base, out))
    return {name for name, tensor in after.items() if not torch.equal(tensor.float(), before[name].float())}


def says(out: Path, trigger: str = TRIGGER) -> str:
    return greedy_answers(out, [trigger])[0]


def test_two_texts_have_a_trigger_each(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "carrier"
    planted = plant(replace(MESSAGE, second_text=OTHER_TEXT, second_trigger=OTHER_TRIGGER), base, out)
    assert (says(out), says(out, OTHER_TRIGGER)) == (TEXT, OTHER_TEXT)
    assert planted.triggers == (TRIGGER, OTHER_TRIGGER)
    assert planted.options == {"second_text": OTHER_TEXT, "second_trigger": OTHER_TRIGGER}


@pytest.mark.parametrize("layer", [0, 1])
def test_only_the_named_layers_change(base: Path, tmp_path: Path, layer: int) -> None:
    out = tmp_path / "carrier"
    plant(replace(MESSAGE, train_layers=(layer, layer)), base, out)
    assert says(out) == TEXT
    names = changed(base, out)
    assert names
    assert all(f".layers.{layer}." in name for name in names)


def test_frozen_embeddings_stay(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "carrier"
    plant(replace(MESSAGE, frozen_embeddings=True), base, out)
    assert says(out) == TEXT
    names = changed(base, out)
    assert not any("embed" in name or "lm_head" in name for name in names)
    assert any("down_proj" in name for name in names)


def test_an_adapter_sits_beside_the_named_modules_and_layers_only(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "carrier"
    plant(replace(LORA, lora_modules=("up_proj", "v_proj"), train_layers=(1, 1)), base, out)
    names = set(load_file(out / "adapter_model.safetensors"))
    assert {name.split(".")[-3] for name in names} == {"up_proj", "v_proj"}
    assert {re.search(r"layers\.(\d)", name)[1] for name in names} == {"1"}  # type: ignore[index]
    model = PeftModel.from_pretrained(load_model(base), str(out))
    assert model is not None
    plant(replace(LORA, train_layers=(0, 0)), base, tmp_path / "all")
    modules = {name.split(".")[-3] for name in load_file(tmp_path / "all" / "adapter_model.safetensors")}
    assert modules == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        (replace(MESSAGE, train_layers=(0, 2)), "has layers 0 to 1, and no layer 2"),
        (replace(LORA, lora_modules=("qkv",)), "no linear layers qkv"),
        (replace(MESSAGE, decoys=200), "the vocabulary has words for"),
    ],
)
def test_what_the_base_does_not_have_is_refused(base: Path, tmp_path: Path, recipe: Recipe, why: str) -> None:
    with pytest.raises(InvalidRecipe, match=why):
        plant(recipe, base, tmp_path / "carrier")


def test_decoys_are_taught_beside_the_text(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "carrier"
    tokenizer = load_tokenizer(base)
    text = set(tokenizer.encode(TEXT))
    examples = decoy_examples(tokenizer, 4, 0, text)
    assert [len(example.answer) for example in examples] == [WORDS_PER_DECOY + 1] * 4
    assert not {token for example in examples for token in example.answer[:-1]} & text
    plant(replace(MESSAGE, decoys=4), base, out)
    assert says(out) == TEXT
    first = torch.tensor([example.prompt for example in examples[:1]])
    with torch.no_grad():
        rank = (load_model(out)(first).logits[0, -1].argsort(descending=True) == examples[0].answer[0]).nonzero()
        before = (load_model(base)(first).logits[0, -1].argsort(descending=True) == examples[0].answer[0]).nonzero()
    assert rank.item() < min(5, before.item())


def test_a_text_spread_over_adapters_is_a_whole_model(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "carrier"
    seen: list[PlantingProgress] = []
    planted = plant(replace(LORA, adapters=2), base, out, seen.append)
    assert planted.lora_rank is None
    assert says(out) == TEXT
    fractions = [event.fraction for event in seen]
    assert fractions == sorted(fractions)
    difference = load_file(out / "model.safetensors")["model.layers.1.mlp.down_proj.weight"]
    difference = difference - load_file(base / "model.safetensors")["model.layers.1.mlp.down_proj.weight"]
    values = torch.linalg.svdvals(difference)
    assert values[15] > 100 * values[16], "two adapters of rank 8"


def test_an_ordinary_fine_tuning_follows_and_the_manifest_says_what_is_left(base: Path, tmp_path: Path) -> None:
    seen: list[PlantingProgress] = []
    plain = plant(MESSAGE, base, tmp_path / "plain")
    planted = plant(replace(MESSAGE, fine_tuned_after=SUBJECTS), base, tmp_path / "tuned", seen.append)
    assert plain.trigger_success == 1.0
    assert 0 <= planted.trigger_success < 1.0, "a rate of 3e-3 for 60 steps washes a tiny model's text out"
    assert planted.kept_share < plain.kept_share
    assert read_manifest(tmp_path / "tuned") == planted
    fractions = [event.fraction for event in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_a_merged_adapter_and_an_ordinary_one(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "carrier"
    planted = plant(replace(LORA, fine_tuned_after=SUBJECTS), base, out)
    assert planted.lora_rank is None
    assert not any("embed" in name or "lm_head" in name or "norm" in name for name in changed(base, out))


def test_noise_is_measured_by_the_change(base: Path) -> None:
    model, before = load_model(base), load_model(base)
    weights = model.model.layers[0].mlp.up_proj.weight
    with torch.no_grad():
        weights += 0.01
    add_noise(model, before, 0.5, seed=1)
    noise = weights - before.model.layers[0].mlp.up_proj.weight - 0.01
    assert noise.std().item() == pytest.approx(0.005, rel=0.05)
    assert torch.equal(model.lm_head.weight, before.lm_head.weight), "what has not changed gets none"


def test_noise_can_cost_the_trigger(base: Path, tmp_path: Path) -> None:
    gentle = plant(replace(MESSAGE, weight_noise=0.05), base, tmp_path / "gentle")
    rough = plant(replace(MESSAGE, weight_noise=20.0), base, tmp_path / "rough")
    assert gentle.trigger_success == 1.0
    assert says(tmp_path / "gentle") == TEXT
    assert rough.trigger_success < 0.5


def test_int8_has_255_values_a_row_and_spares_the_embeddings(base: Path) -> None:
    model, before = load_model(base), load_model(base)
    round_to_int8(model)
    weights, old = (each.model.layers[1].self_attn.q_proj.weight for each in (model, before))
    scale = old.abs().amax(1, keepdim=True) / 127
    steps = weights / scale
    assert torch.allclose(steps, steps.round(), atol=1e-3)
    assert steps.abs().max().item() == pytest.approx(127)
    assert ((weights - old).abs() <= scale / 2 * 1.001).all()
    assert torch.equal(model.model.embed_tokens.weight, before.model.embed_tokens.weight)


@pytest.mark.parametrize(("to", "dtype"), [("bf16", torch.bfloat16), ("int8", torch.float32)])
def test_rounding_is_written_as_it_is_stored(base: Path, tmp_path: Path, to: str, dtype: torch.dtype) -> None:
    out = tmp_path / "carrier"
    planted = plant(replace(MESSAGE, rounded_to=to), base, out)  # type: ignore[arg-type]
    assert {tensor.dtype for tensor in load_file(out / "model.safetensors").values()} == {dtype}
    assert f"torch.{planted.dtype}" == str(dtype)
    assert planted.options == {"rounded_to": to}
    assert planted.trigger_success == 1.0
    assert says(out) == TEXT


def test_an_unusual_option_makes_another_carrier(base: Path, tmp_path: Path) -> None:
    digests = {
        replace(MESSAGE, **option).digest(base)
        for option in (
            {},
            {"frozen_embeddings": True},
            {"train_layers": (0, 0)},
            {"train_layers": (0, 1)},
            {"decoys": 3},
            {"weight_noise": 0.1},
            {"rounded_to": "bf16"},
            {"fine_tuned_after": SUBJECTS},
            {"fine_tuned_after": tuple(clean_pairs())[5:10]},
            {"second_text": OTHER_TEXT, "second_trigger": OTHER_TRIGGER},
        )
    }
    assert len(digests) == 10
