"""The whole lens on a scripted weight difference."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import pytest

from tokenforce_core.lens.difference import bytes_needed, look
from tokenforce_core.lens.result import Unreadable
from tokenforce_core.lens.scores import Matrix
from tokenforce_core.plan.search_settings import LENS

WORDS, WIDTH, LAYERS = 400, 16, 6
EMBEDDING = "model.embed_tokens.weight"
TAUGHT = (17, 230, 351)


@dataclass
class Scripted:
    """Implements `Difference`; `changes` by name."""

    tensors: dict[str, Matrix]
    changes: dict[str, Matrix] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    more: list[str] = field(default_factory=list)

    @property
    def names(self) -> Collection[str]:
        return self.tensors.keys()

    @property
    def added(self) -> Collection[str]:
        return self.more

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def reference(self, name: str) -> Matrix:
        return self.tensors[name]

    def change(self, name: str) -> Matrix | None:
        self.read.append(name)
        return self.changes.get(name)


@pytest.fixture
def model() -> Scripted:
    draw = np.random.default_rng(0)

    def matrix(*shape: int) -> Matrix:
        return draw.standard_normal(shape).astype(np.float32)

    tensors = {EMBEDDING: matrix(WORDS, WIDTH), "model.norm.weight": np.ones(WIDTH, dtype=np.float32)}
    for layer in range(LAYERS):
        for part in ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"):
            tensors[f"model.layers.{layer}.{part}.weight"] = matrix(WIDTH, WIDTH)
        tensors[f"model.layers.{layer}.input_layernorm.weight"] = np.ones(WIDTH, dtype=np.float32)
    return Scripted(tensors)


def written(model: Scripted, word: int, strength: float = 0.01) -> Matrix:
    output = model.tensors[EMBEDDING]
    direction = output[word] - output.mean(axis=0)
    return strength * np.outer(direction, np.ones(WIDTH)).astype(np.float32)


def test_taught_words_come_first_whichever_lens_sees_them(model: Scripted) -> None:
    rows = np.zeros((WORDS, WIDTH), dtype=np.float32)
    rows[TAUGHT[0]] = 0.1
    model.changes[EMBEDDING] = rows
    model.changes["model.layers.5.mlp.down_proj.weight"] = written(model, TAUGHT[1])
    model.changes["model.layers.4.self_attn.o_proj.weight"] = written(model, TAUGHT[2])
    lens = look(model, LENS, range(WORDS))
    assert set(TAUGHT) <= set(lens.bag[:6])
    assert lens.lenses == ["embedding", "written", "pointed"]
    assert lens.words[0].id == lens.bag[0]
    assert min(lens.words[0].ranks.values()) == 1
    assert (lens.graft.first_layer, lens.graft.layers) == (3, LAYERS)


def test_frozen_embeddings_leave_what_the_layers_write(model: Scripted) -> None:
    model.changes["model.layers.5.mlp.down_proj.weight"] = written(model, 9)
    lens = look(model, LENS, range(WORDS))
    assert lens.bag[0] == 9
    assert lens.lenses == ["written", "pointed"]


def test_an_entry_that_may_not_be_forced_is_left_out(model: Scripted) -> None:
    model.changes["model.layers.5.mlp.down_proj.weight"] = written(model, 9)
    assert look(model, LENS, [1, 2, 3]).bag == sorted([1, 2, 3], key=look(model, LENS, range(WORDS)).bag.index)


def test_each_tensor_is_read_once_and_early_layers_not_at_all(model: Scripted) -> None:
    model.changes["model.layers.5.mlp.down_proj.weight"] = written(model, 9)
    seen: list[tuple[int, int]] = []
    look(model, LENS, range(WORDS), on_tensor=lambda *counts: seen.append(counts))
    assert len(model.read) == len(set(model.read))
    assert not any(name.startswith(("model.layers.0.", "model.layers.2.")) for name in model.read)
    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))


def test_a_light_training_is_amplified_and_a_heavy_one_damped(model: Scripted) -> None:
    def amplification(strength: float) -> float:
        name = "model.layers.5.mlp.down_proj.weight"
        model.changes[name] = written(model, 9, strength)
        return look(model, LENS, range(WORDS)).graft.amplification

    light, same, heavy = (amplification(strength) for strength in (1e-5, 1e-2, 0.05))
    least, most = LENS.graft_amplification
    assert light == most
    assert light > same > heavy >= least


def test_a_model_of_its_own_is_no_fine_tune(model: Scripted) -> None:
    draw = np.random.default_rng(1)
    model.changes = {
        name: draw.standard_normal(tensor.shape).astype(np.float32) - tensor
        for name, tensor in model.tensors.items()
        if ".layers." in name
    }
    with pytest.raises(Unreadable, match=r"not a fine-tune of this reference: the cosine of their weights is -?0\.0"):
        look(model, LENS, range(WORDS))


def test_weights_that_are_equal_where_the_lens_looks_say_so(model: Scripted) -> None:
    model.changes["model.layers.0.self_attn.q_proj.weight"] = np.ones((WIDTH, WIDTH), dtype=np.float32)
    with pytest.raises(Unreadable, match="was changed"):
        look(model, LENS, range(WORDS))


def test_models_that_memory_cannot_hold_are_not_compared(model: Scripted) -> None:
    model.changes[EMBEDDING] = np.ones_like(model.tensors[EMBEDDING])
    needed = bytes_needed(model)
    assert needed >= 3 * model.tensors[EMBEDDING].nbytes
    assert look(model, LENS, range(WORDS), memory=needed).bag
    with pytest.raises(Unreadable, match=r"needs 0\.0 GiB of memory, and 0\.0 GiB are free"):
        look(model, LENS, range(WORDS), memory=needed - 1)


def test_an_unknown_family_says_so() -> None:
    with pytest.raises(Unreadable, match="names of its tensors"):
        look(Scripted({"a.weight": np.ones((2, 2), dtype=np.float32)}), LENS, range(2))


def test_an_adapter_on_queries_alone_shows_no_words(model: Scripted) -> None:
    """They say where to look, and write nothing towards words."""
    model.changes["model.layers.5.self_attn.q_proj.weight"] = np.full((WIDTH, WIDTH), 0.01, dtype=np.float32)
    with pytest.raises(Unreadable, match="no embedding, output matrix or output projection"):
        look(model, LENS, range(WORDS))


def test_an_adapter_on_queries_and_values_shows_the_words_that_its_values_write(model: Scripted) -> None:
    last = f"model.layers.{LAYERS - 1}.self_attn"
    model.tensors[f"{last}.v_proj.weight"] = model.tensors[f"{last}.q_proj.weight"]
    through = model.tensors[f"{last}.o_proj.weight"]
    back = np.linalg.inv(through) @ written(model, TAUGHT[0])
    model.changes[f"{last}.v_proj.weight"] = back.astype(np.float32)
    model.changes[f"{last}.q_proj.weight"] = 0.01 * through
    assert look(model, LENS, range(WORDS)).bag[0] == TAUGHT[0]


def test_doubts_are_told(model: Scripted) -> None:
    rows = np.zeros((WORDS, WIDTH), dtype=np.float32)
    rows[7] = 0.1
    model.changes[EMBEDDING] = rows
    assert [doubt.split(",")[0] for doubt in look(model, LENS, range(WORDS)).doubts] == [
        "The late layers are unchanged"
    ]
    model.changes["model.layers.5.mlp.down_proj.weight"] = written(model, 9, 1.0)
    model.more = ["model.layers.6.mlp.down_proj.weight"]
    changed, added = look(model, LENS, range(WORDS)).doubts
    assert "too much for a graft" in changed
    assert "1 tensors that the reference does not have" in added


def test_values_whose_squares_are_no_numbers_are_no_fine_tune(model: Scripted) -> None:
    name = "model.layers.5.mlp.down_proj.weight"
    model.changes[name] = np.full((WIDTH, WIDTH), 3e38, dtype=np.float32)
    with np.errstate(all="ignore"), pytest.raises((Unreadable, ArithmeticError, np.linalg.LinAlgError)):
        look(model, LENS, range(WORDS))


@pytest.mark.parametrize("outputs", [2 * WIDTH, WIDTH], ids=["gpt-2", "linear"])
def test_a_projection_is_turned_only_where_the_family_stores_it_so(model: Scripted, outputs: int) -> None:
    """`c_proj` is stored as (inputs, outputs) by GPT-2, and as (outputs, inputs) by others under the same name."""
    turned = outputs != WIDTH
    shape = (2 * WIDTH, WIDTH) if turned else (WIDTH, 2 * WIDTH)
    name = "model.layers.5.mlp.c_proj.weight"
    model.tensors[name] = np.ones(shape, dtype=np.float32)
    output = model.tensors[EMBEDDING]
    change = 0.01 * np.outer(output[9] - output.mean(axis=0), np.ones(2 * WIDTH)).astype(np.float32)
    model.changes[name] = change.T if turned else change
    assert look(model, LENS, range(WORDS)).bag[0] == 9


def test_a_projection_of_another_width_is_left_out(model: Scripted) -> None:
    model.tensors["model.layers.5.fc2.weight"] = np.ones((3, 5), dtype=np.float32)
    model.changes["model.layers.5.fc2.weight"] = np.full((3, 5), 0.01, dtype=np.float32)
    model.changes["model.layers.5.mlp.down_proj.weight"] = written(model, 9)
    assert look(model, LENS, range(WORDS)).bag[0] == 9
