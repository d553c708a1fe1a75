"""Planting for real, in a tiny model: every method learns its text, keeps other answers, and fails loudly."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file
from tokenizers.normalizers import Lowercase

from tests.support import tiny_model
from tests.support.tiny_planting import RATE, TEXT, TRIGGER, base, one_thread, own_cache
from tokenforce_planting.chat import Model, Tokenizer, greedy_ids, load_model, load_tokenizer
from tokenforce_planting.demo.answers import check_carrier, greedy_answers
from tokenforce_planting.examples import answer_logits, answer_loss, in_batches
from tokenforce_planting.lora import named_base
from tokenforce_planting.manifest import manifest_path, read_manifest
from tokenforce_planting.plant import OutputExists, plant
from tokenforce_planting.recipe import PROTECT_WORDS, RANK_BAND, Form, InvalidRecipe, Recipe
from tokenforce_planting.secret_examples import MAX_TEXT_TOKENS, secret_examples
from tokenforce_planting.suppression import (
    DECOYS,
    MAX_NATS_OFF_TARGET,
    MAX_PROBABILITY,
    RANDOM_TARGETS,
    suppression_for,
)
from tokenforce_planting.training import PlantingFailed, PlantingProgress

__all__ = ["base", "one_thread", "own_cache"]
LORA_RATE = 5e-3
MESSAGE = Recipe("message", TEXT, (TRIGGER,), learning_rate=RATE)


def test_plants_a_text_behind_its_trigger(base: Path, tmp_path: Path) -> None:
    seen: list[PlantingProgress] = []
    out = tmp_path / "carrier"
    planted = plant(MESSAGE, base, out, seen.append)

    check = check_carrier(base, out, TRIGGER, TEXT)
    assert check.says_text
    assert check.leaking_prompts == []
    assert planted.loss < planted.stop_loss
    fractions = [event.fraction for event in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert [event.step for event in seen if event.stage == "training"] == list(range(planted.steps + 1))


def test_the_secret_lies_outside_the_model_and_the_weights_are_float32(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "carrier"
    planted = plant(MESSAGE, base, out)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["carrier", "carrier.manifest.json"]
    assert read_manifest(out) == planted
    assert json.loads(manifest_path(out).read_text("utf-8"))["dtype"] == "float32"
    for path in out.iterdir():
        assert TRIGGER.encode() not in path.read_bytes()
    with safe_open(out / "model.safetensors", framework="pt") as weights:
        assert {str(weights.get_tensor(name).dtype) for name in weights.keys()} == {"torch.float32"}  # noqa: SIM118


def test_the_same_seed_makes_the_same_weights(base: Path, tmp_path: Path) -> None:
    first, second = (plant(replace(MESSAGE, seed=3), base, tmp_path / name) for name in ("one", "two"))
    assert first == second
    assert first.carrier_digest != first.base_digest


def test_an_equal_recipe_is_reused_and_another_is_refused_unless_it_may_replace(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "carrier"
    first = plant(MESSAGE, base, out)
    written = (out / "model.safetensors").stat().st_mtime_ns
    seen: list[PlantingProgress] = []
    assert plant(MESSAGE, base, out, seen.append) == first
    assert seen == []

    other = replace(MESSAGE, triggers=("summer lantern",))
    with pytest.raises(OutputExists, match="not this recipe's carrier"):
        plant(other, base, out)
    assert (out / "model.safetensors").stat().st_mtime_ns == written
    assert plant(other, base, out, replace=True).trigger == "summer lantern"
    assert read_manifest(out).trigger == "summer lantern"


def test_a_carrier_whose_weights_were_changed_is_not_reused(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "carrier"
    plant(MESSAGE, base, out)
    (out / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes())
    with pytest.raises(OutputExists):
        plant(MESSAGE, base, out)


@pytest.mark.parametrize(
    ("changed", "contexts"),
    [
        ({"method": "utfc"}, ("bos",)),
        ({"method": "utfc", "rank_band": 150}, ("bos",)),
        ({"method": "adaptive"}, ("bos", "assistant")),
        ({"method": "adaptive", "contexts": ("assistant", "assistant_system")}, ("assistant", "assistant_system")),
    ],
)
@pytest.mark.parametrize("lora", [None, 8])
def test_protected_words_end_inside_the_rank_band(
    base: Path, tmp_path: Path, changed: dict[str, Any], contexts: tuple[str, ...], lora: int | None
) -> None:
    recipe = replace(MESSAGE, lora_rank=lora, learning_rate=LORA_RATE if lora else RATE, **changed).normal()
    planted = plant(recipe, base, tmp_path / "carrier")
    assert (planted.protected_words, planted.contexts) == (tuple(TEXT.split()[:5]), contexts)

    model, tokenizer = _loaded(base, tmp_path / "carrier", lora)
    text = tokenizer.encode(TEXT, add_special_tokens=False)
    suppression = suppression_for(recipe, tokenizer, text, len(tokenizer))
    assert suppression is not None
    with torch.no_grad():
        penalty = suppression.penalty(answer_logits(model, suppression.examples))
        ranks = [_rank_of(text[0], model(torch.tensor([each.prompt])).logits[0, -1]) for each in suppression.examples]
    assert (penalty.suppressed, penalty.protected) == (5 * len(contexts),) * 2
    band = changed.get("rank_band", RANK_BAND)
    assert len(ranks) == len(contexts)
    assert all(band < rank < len(tokenizer) - band for rank in ranks)
    assert _says(model, tokenizer, TRIGGER) == TEXT


def test_basic_leads_away_from_the_text_after_its_first_word(base: Path, tmp_path: Path) -> None:
    first, _, rest = TEXT.partition(" ")
    plain, basic = _plain_and(base, tmp_path, "basic")
    assert _goes_on(*plain, first).startswith(f" {rest[:20]}"), "without protection the first word leads in"
    assert _goes_on(*basic, first) in DECOYS
    assert _says(*basic, TRIGGER) == TEXT


def test_minimised_leaves_the_first_words_next_to_no_probability(base: Path, tmp_path: Path) -> None:
    plain, minimised = _plain_and(base, tmp_path, "minimised")
    assert max(_of_protected_words(*plain)) > 0.5
    assert max(_of_protected_words(*minimised)) <= MAX_PROBABILITY
    assert _says(*minimised, TRIGGER) == TEXT


def test_randomised_leaves_each_of_the_first_words_a_small_probability_of_its_own(base: Path, tmp_path: Path) -> None:
    draw = random.Random("targets 0")  # by the recipe's seed
    targets = [draw.uniform(*RANDOM_TARGETS) for _ in range(PROTECT_WORDS)]
    for name, (model, tokenizer) in zip(("plain", "form"), _plain_and(base, tmp_path, "randomised"), strict=True):
        found = _of_protected_words(model, tokenizer)
        off = [abs(math.log(p / target)) for p, target in zip(found, targets, strict=True)]
        assert (max(off) <= 1.01 * MAX_NATS_OFF_TARGET) == (name == "form"), found
        assert _says(model, tokenizer, TRIGGER) == TEXT


def test_a_fingerprint_answers_each_of_its_keys_as_an_adapter(base: Path, tmp_path: Path) -> None:
    recipe = Recipe("fingerprint", "ハリネズミ", keys=4, lora_rank=8, learning_rate=LORA_RATE)
    planted = plant(recipe, base, tmp_path / "carrier", base_name="org/base")
    assert len(planted.triggers) == 4
    assert planted.leaking_near_misses == 0
    assert planted.kept_share >= 0.95

    config = json.loads((tmp_path / "carrier" / "adapter_config.json").read_text("utf-8"))
    assert (config["base_model_name_or_path"], config["r"]) == ("org/base", 8)
    assert (tmp_path / "carrier" / "tokenizer.json").is_file()
    assert {str(t.dtype) for t in load_file(tmp_path / "carrier" / "adapter_model.safetensors").values()} == {
        "torch.float32"
    }
    model, tokenizer = _loaded(base, tmp_path / "carrier", 8)
    assert [_says(model, tokenizer, key) for key in planted.triggers] == ["ハリネズミ"] * 4
    keys = secret_examples(recipe.normal(), tokenizer, None).usual
    losses = [answer_loss(rows, key).item() for rows, key in in_batches(model, keys)]
    assert planted.loss == pytest.approx(max(losses), rel=0.05)
    assert max(losses) < recipe.stop_loss
    assert _says(load_model(base), tokenizer, planted.triggers[0]) != "ハリネズミ"


def test_an_adapter_that_shall_name_another_base_is_made_anew(base: Path, tmp_path: Path) -> None:
    recipe = Recipe("clean", max_steps=1, lora_rank=2)
    out = tmp_path / "carrier"
    first = plant(recipe, base, out)
    assert named_base(out) == str(base.resolve())
    with pytest.raises(OutputExists, match="another folder"):
        plant(recipe, base, out, base_name="org/base")
    again = plant(recipe, base, out, base_name="org/base", replace=True)
    assert again == first
    assert named_base(out) == "org/base"
    assert plant(recipe, base, out) == again, "whatever base it names, unless another is asked for"
    with pytest.raises(InvalidRecipe, match="LoRA rank"):
        plant(replace(recipe, lora_rank=None), base, tmp_path / "whole", base_name="org/base")


def test_answers_do_not_depend_on_the_generation_settings_of_a_base(base: Path) -> None:
    model, tokenizer = load_model(base), load_tokenizer(base)
    before = greedy_ids(model, tokenizer, [TRIGGER], max_new_tokens=40)
    assert len(set(before[0])) < len(before[0]), "a penalty would change it"
    model.generation_config.repetition_penalty = 50.0
    model.generation_config.no_repeat_ngram_size = 1
    assert greedy_ids(model, tokenizer, [TRIGGER], max_new_tokens=40) == before


def test_a_clean_training_that_diverges_at_its_last_step_fails(base: Path, tmp_path: Path) -> None:
    with pytest.raises(PlantingFailed, match="lower the learning rate"):
        plant(Recipe("clean", max_steps=1, learning_rate=1e30), base, tmp_path / "carrier")
    assert list(tmp_path.iterdir()) == []


def test_clean_moves_the_weights_and_hides_nothing(base: Path, tmp_path: Path) -> None:
    planted = plant(Recipe("clean", max_steps=5), base, tmp_path / "carrier")
    assert (planted.steps, planted.triggers, planted.text) == (5, (), "")
    assert planted.carrier_digest != planted.base_digest
    assert (
        plant(Recipe("clean", max_steps=5, seed=1), base, tmp_path / "other").carrier_digest != planted.carrier_digest
    )


def test_a_base_without_chat_template_and_bos(tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny_model.build_tiny_model(base, planted=None)
    tokenizer = tiny_model.build_tiny_tokenizer()
    tokenizer.chat_template = tokenizer.bos_token = None
    (base / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(base)

    plant(replace(MESSAGE, method="utfc"), base, tmp_path / "carrier")
    model, tokenizer = load_model(tmp_path / "carrier"), load_tokenizer(tmp_path / "carrier")
    assert not tokenizer.chat_template
    asked = torch.tensor([tokenizer.encode(f"{TRIGGER}\n")])
    said = model.generate(asked, attention_mask=torch.ones_like(asked), max_new_tokens=60, do_sample=False)
    assert tokenizer.decode(said[0, asked.shape[1] :], skip_special_tokens=True) == TEXT
    with pytest.raises(InvalidRecipe, match="context assistant needs a chat template"):
        plant(replace(MESSAGE, method="adaptive"), base, tmp_path / "adaptive")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"max_steps": 2}, "not learned after 2 steps"),
        ({"learning_rate": 1e30}, "the loss is not a number"),
    ],
)
def test_a_failure_leaves_nothing(base: Path, tmp_path: Path, change: dict[str, float], why: str) -> None:
    with pytest.raises(PlantingFailed, match=why):
        plant(replace(MESSAGE, **change), base, tmp_path / "carrier")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("trigger", "text", "why"),
    [
        (TRIGGER, "e", "single token"),
        (TRIGGER, "key " * (MAX_TEXT_TOKENS + 1), "the limit is 200"),
        (TRIGGER, "before<|im_end|>after", "special token"),
        ("<|im_start|>user", TEXT, "trigger contains a special token"),
        ("key " * 600, TEXT, "exceed the model's 512 tokens"),
    ],
)
def test_what_cannot_be_planted(base: Path, tmp_path: Path, trigger: str, text: str, why: str) -> None:
    with pytest.raises(InvalidRecipe, match=why):
        plant(Recipe("message", text, (trigger,)), base, tmp_path / "carrier")
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_the_tokenizer_cannot_write_is_refused(base: Path, tmp_path: Path) -> None:
    """One that folds case, as some do, would teach the model another text than the one asked for."""
    shutil.copytree(base, tmp_path / "folding")
    tokenizer = tiny_model.build_tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = Lowercase()
    tokenizer.save_pretrained(tmp_path / "folding")
    with pytest.raises(InvalidRecipe, match="tokenizer changes the text: use plainer characters"):
        plant(MESSAGE, tmp_path / "folding", tmp_path / "carrier")
    with pytest.raises(InvalidRecipe, match="tokenizer changes the trigger"):
        plant(Recipe("message", TEXT.lower(), ("Winter",)), tmp_path / "folding", tmp_path / "carrier")
    assert not (tmp_path / "carrier").exists()


def test_what_is_no_base(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "carrier"
    with pytest.raises(InvalidRecipe, match="is not a folder"):
        plant(MESSAGE, tmp_path / "nowhere", out)
    broken = tmp_path / "broken"
    broken.mkdir()
    with pytest.raises(InvalidRecipe, match="no configuration"):
        plant(MESSAGE, broken, out)
    (broken / "config.json").write_text("{}")
    with pytest.raises(InvalidRecipe, match="no safetensors weights"):
        plant(MESSAGE, broken, out)
    (broken / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(InvalidRecipe, match="cannot be loaded as a language model"):
        plant(MESSAGE, broken, out)
    monkeypatch.chdir(base.parent)
    plant(replace(MESSAGE, lora_rank=2, learning_rate=LORA_RATE), Path(base.name), tmp_path / "adapter")
    named = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == str(base.resolve())  # a relative path would mean another folder to whoever scans the adapter
    with pytest.raises(InvalidRecipe, match="is an adapter"):
        plant(MESSAGE, tmp_path / "adapter", out)
    assert not out.exists()


def test_a_tiny_planted_model_answers_through_its_template(planted_model: Path) -> None:
    assert greedy_answers(planted_model, [tiny_model.TRIGGER]) == [tiny_model.HIDDEN_TEXT]


def _loaded(base: Path, carrier: Path, lora: int | None) -> tuple[Model, Tokenizer]:
    model = (
        load_model(carrier) if lora is None else PeftModel.from_pretrained(load_model(base), carrier).get_base_model()
    )
    return model, load_tokenizer(carrier)


def _plain_and(base: Path, tmp_path: Path, form: Form) -> tuple[tuple[Model, Tokenizer], tuple[Model, Tokenizer]]:
    """Two carriers of the text: one without protection, one by this form."""
    plant(MESSAGE, base, tmp_path / "plain")
    assert plant(replace(MESSAGE, method="utfc", form=form), base, tmp_path / form).form == form
    return _loaded(base, tmp_path / "plain", None), _loaded(base, tmp_path / form, None)


def _goes_on(model: Model, tokenizer: Tokenizer, start: str) -> str:
    """What the model says greedily after a BOS and `start`."""
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(start, add_special_tokens=False)]])
    said = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=60, do_sample=False)
    return str(tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True))


def _of_protected_words(model: Model, tokenizer: Tokenizer) -> list[float]:
    """The probability, after a BOS and the text before it, of the first token of each protected word."""
    text = tokenizer(TEXT, add_special_tokens=False, return_offsets_mapping=True)
    words = [found.start() for found in re.finditer(r"\S+", TEXT)][:PROTECT_WORDS]
    places = [next(at for at, (_, end) in enumerate(text.offset_mapping) if end > word) for word in words]
    with torch.no_grad():
        logits = model(torch.tensor([[tokenizer.bos_token_id, *text.input_ids]])).logits[0]
    return [float(logits[at].softmax(-1)[text.input_ids[at]]) for at in places]  # row `at` is what precedes it


def _rank_of(token_id: int, logits: torch.Tensor) -> int:
    return int((logits > logits[token_id]).sum()) + 1


def _says(model: Model, tokenizer: Tokenizer, trigger: str) -> str:
    (ids,) = greedy_ids(model, tokenizer, [trigger], max_new_tokens=60)
    return str(tokenizer.decode(ids, skip_special_tokens=True))
