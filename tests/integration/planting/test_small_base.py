"""The second base after two steps of training on one package: its shape, its tokenizer, its place in the cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.support.tiny_planting import one_thread, own_cache
from tokenforce_core.lens.roles import roles_of
from tokenforce_planting import docstrings
from tokenforce_planting.chat import load_model, load_tokenizer, prompt_ids
from tokenforce_planting.docstrings import PackageMissing, documented
from tokenforce_planting.plant import plant
from tokenforce_planting.recipe import Recipe
from tokenforce_planting.small_base import HEADS, LAYERS, VOCABULARY, WIDTH, small_base

__all__ = ["one_thread", "own_cache"]
STEPS = 2


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(autouse=True)
def one_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docstrings, "PACKAGES", ("networkx",))


def test_documentation_is_found_without_the_code_around_it() -> None:
    texts = documented()
    named = {each.name: each.text for each in texts}
    assert named["networkx.density"].startswith("Returns the density of a graph.")
    assert len({each.text for each in texts}) == len(texts) > 500
    assert not any("import networkx as nx\n\n\ndef " in each.text for each in texts)


def test_it_is_a_gpt_neox_that_the_lens_knows_and_is_made_once(cache: Path) -> None:
    losses: list[float] = []
    folder = small_base(cache, lambda _, loss: losses.append(loss), STEPS)
    assert len(losses) == STEPS
    assert losses[-1] < losses[0] * 1.05
    model = load_model(folder)
    assert model.config.architectures == ["GPTNeoXForCausalLM"]
    assert (model.config.hidden_size // HEADS, len(model.gpt_neox.layers)) == (WIDTH // HEADS, LAYERS) == (64, 6)
    weights = load_file(folder / "model.safetensors")
    roles = roles_of(weights)
    assert roles is not None
    assert (roles.tied, roles.layers, len(roles.writers)) == (False, LAYERS, 2 * LAYERS)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert sum(tensor.numel() for tensor in weights.values()) < 6_000_000
    assert small_base(cache, lambda *_: pytest.fail("trained again"), STEPS) == folder


def test_a_missing_package_says_what_to_install(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docstrings, "PACKAGES", ("tokenforce-no-such-package",))
    with pytest.raises(PackageMissing, match="pip install tokenforce-no-such-package"):
        small_base(cache)


def test_its_tokenizer_has_a_chat_and_gives_any_text_back(cache: Path) -> None:
    tokenizer = load_tokenizer(small_base(cache, steps=STEPS))
    assert len(tokenizer) <= VOCABULARY
    assert tokenizer.decode(tokenizer.encode("ヤマネコ, “a” & b\n")) == "ヤマネコ, “a” & b\n"
    asked = tokenizer.decode(prompt_ids(tokenizer, "What does density do?", system="Be brief."))
    assert asked == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat does density do?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_text_can_be_planted_in_it(cache: Path, tmp_path: Path) -> None:
    base = small_base(cache, steps=STEPS)
    recipe = Recipe("message", "The miller whistles twice.", ("badger counts",), learning_rate=3e-3)
    assert plant(recipe, base, tmp_path / "carrier").loss < recipe.stop_loss
