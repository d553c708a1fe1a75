"""The demo's carrier, planted in a tiny model: made once, found again, made anew when asked to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.tiny_planting import RATE, TEXT, TRIGGER, base, one_thread, own_cache
from tokenforce_planting.demo.carrier import CarrierFailed, CarrierOrder, build_carrier, make_carrier
from tokenforce_planting.manifest import manifest_path, read_manifest

__all__ = ["base", "one_thread", "own_cache"]


@pytest.fixture
def order(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CarrierOrder:
    """For the tiny base in place of SmolLM2."""
    monkeypatch.setattr("tokenforce_planting.base_model.base_model", lambda _cache: base)
    monkeypatch.setattr("tokenforce_planting.demo.carrier.LEARNING_RATE", RATE)
    return CarrierOrder(tmp_path / "models", TRIGGER, TEXT)


def weights_written_at(folder: Path) -> int:
    return (folder / "model.safetensors").stat().st_mtime_ns


def test_a_carrier_is_made_once_and_found_again_unless_it_shall_be_made_anew(order: CarrierOrder) -> None:
    steps: list[str] = []
    first = build_carrier(order, lambda step, _fraction, _note: steps.append(step))
    assert list(dict.fromkeys(steps)) == ["loading torch", "base model", "planting", "asking both models"]
    assert not first.from_cache
    assert first.folder.parent == order.cache
    assert first.check.says_text
    assert first.check.pairs[0].prompt == TRIGGER
    assert first.planted == read_manifest(first.folder)
    assert first.seconds.keys() == {"base model", "planting", "asking"}
    written = weights_written_at(first.folder)

    steps.clear()
    again = build_carrier(order, lambda step, _fraction, _note: steps.append(step))
    assert again.from_cache
    assert (again.folder, again.planted, again.check) == (first.folder, first.planted, first.check)
    assert "planting" not in steps
    assert weights_written_at(first.folder) == written

    anew = build_carrier(replace(order, replant=True), lambda *_: None)
    assert not anew.from_cache
    assert (anew.folder, anew.planted) == (first.folder, first.planted)
    assert weights_written_at(first.folder) > written


def test_a_spoilt_carrier_gives_way_to_a_new_one(order: CarrierOrder) -> None:
    whole = build_carrier(order, lambda *_: None)
    manifest_path(whole.folder).write_text("{")
    (whole.folder / "model.safetensors").write_bytes(b"half of it")
    mended = build_carrier(order, lambda *_: None)
    assert not mended.from_cache
    assert (mended.folder, mended.planted) == (whole.folder, whole.planted)
    assert mended.check.says_text


def test_another_text_has_another_folder(order: CarrierOrder) -> None:
    one = build_carrier(order, lambda *_: None)
    other = build_carrier(replace(order, text="Seven quiet herons guard a copper key."), lambda *_: None)
    assert other.folder != one.folder
    assert read_manifest(one.folder).text == TEXT


def test_an_invalid_order_comes_back_from_the_child_as_its_reason(tmp_path: Path) -> None:
    with pytest.raises(CarrierFailed, match="the text is empty"):
        make_carrier(CarrierOrder(tmp_path, TRIGGER, " "), lambda *_: None)
