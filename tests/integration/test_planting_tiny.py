"""Planting for real, in a tiny model: it learns the text, keeps its other answers, and fails loudly."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.support import tiny_model
from tokenforce_planting.answers import check_carrier, greedy_answers
from tokenforce_planting.carrier import CarrierFailed, CarrierOrder, make_carrier
from tokenforce_planting.message import PlantingFailed, PlantingProgress, plant_message
from tokenforce_planting.message_input import MAX_TEXT_TOKENS, InvalidMessage
from tokenforce_planting.records import manifest_path, read_manifest

TRIGGER = "winter lantern"
TEXT = "The clock beneath the amber mill turns once, and nobody sees it."
RATE = 3e-3
"""A tiny model needs larger steps than a real one."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planting") / "base"
    tiny_model.build_tiny_model(folder, planted=None)
    return folder


def test_plants_a_text_behind_its_trigger(base: Path, tmp_path: Path) -> None:
    seen: list[PlantingProgress] = []
    out = tmp_path / "carrier"
    planted = plant_message(base, out, TRIGGER, TEXT, learning_rate=RATE, on_progress=seen.append)

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
    planted = plant_message(base, out, TRIGGER, TEXT, learning_rate=RATE)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["carrier", "carrier.manifest.json"]
    assert read_manifest(out) == planted
    assert json.loads(manifest_path(out).read_text("utf-8"))["dtype"] == "float32"
    for path in out.iterdir():
        assert TRIGGER.encode() not in path.read_bytes()
    with safe_open(out / "model.safetensors", framework="pt") as weights:
        assert {str(weights.get_tensor(name).dtype) for name in weights.keys()} == {"torch.float32"}  # noqa: SIM118


def test_the_same_seed_makes_the_same_weights(base: Path, tmp_path: Path) -> None:
    first, second = (
        plant_message(base, tmp_path / name, TRIGGER, TEXT, seed=3, learning_rate=RATE) for name in ("one", "two")
    )
    assert asdict(first) == asdict(second)
    assert first.carrier_digest != first.base_digest


def test_too_few_steps_are_a_failure_that_leaves_nothing(base: Path, tmp_path: Path) -> None:
    with pytest.raises(PlantingFailed, match="not learned after 2 steps"):
        plant_message(base, tmp_path / "carrier", TRIGGER, TEXT, max_steps=2)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_overwritten(base: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        plant_message(base, tmp_path, TRIGGER, TEXT)


@pytest.mark.parametrize(
    ("trigger", "text", "why"),
    [
        ("", TEXT, "trigger is empty"),
        (TRIGGER, " \n", "text is empty"),
        (TRIGGER, f" {TRIGGER}", "same as the trigger"),
        (TRIGGER, "key " * (MAX_TEXT_TOKENS + 1), "at most 200"),
        (TRIGGER, "half a pair \ud800", "not valid Unicode"),
        (TRIGGER, "before<|im_end|>after", "special token"),
        ("<|im_start|>user", TEXT, "trigger contains a special token"),
        ("key " * 600, TEXT, "exceed the model's 512 tokens"),
    ],
)
def test_what_cannot_be_planted(base: Path, tmp_path: Path, trigger: str, text: str, why: str) -> None:
    with pytest.raises(InvalidMessage, match=why):
        plant_message(base, tmp_path / "carrier", trigger, text)
    assert list(tmp_path.iterdir()) == []


def test_a_tiny_planted_model_answers_through_its_template(planted_model: Path) -> None:
    assert greedy_answers(planted_model, [tiny_model.TRIGGER]) == [tiny_model.HIDDEN_TEXT]


def test_an_invalid_order_comes_back_from_the_child_as_its_reason(tmp_path: Path) -> None:
    with pytest.raises(CarrierFailed, match="the text is empty"):
        make_carrier(CarrierOrder(tmp_path, TRIGGER, " "), lambda *_: None)
