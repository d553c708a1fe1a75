"""LoRA adapters: what is refused because the engine could not use it, or would use it unlike PEFT."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.support.tiny_adapter import QUERY, RANK, WIDTH, write_adapter, write_weights
from tests.support.tiny_model import build_tiny_model
from tokenforce.wire.problems import ErrorCode
from tokenforce_service.models.adapter import WEIGHTS, Adapter, check_fit, inspect_adapter
from tokenforce_service.models.folder import read_folder
from tokenforce_service.models.model import Model, inspect_model
from tokenforce_service.refusals import Refusal

OTHER = "model.layers.1.self_attn.o_proj"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("made") / "base"
    build_tiny_model(folder, planted=None)
    return inspect_model(read_folder(folder, [folder]), 2**30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "adapter"


def checked(folder: Path, base: Model, **changes: object) -> Adapter:
    """The adapter with these changes of its config, found to fit its base."""
    weights = (folder / WEIGHTS).read_bytes() if folder.exists() else None
    write_adapter(folder, base.path, **changes)
    if weights is not None:
        (folder / WEIGHTS).write_bytes(weights)
    adapter = inspect_adapter(read_folder(folder, [folder]))
    check_fit(adapter, base)
    return adapter


def refused(folder: Path, base: Model, **changes: object) -> str:
    with pytest.raises(Refusal) as refusal:
        checked(folder, base, **changes)
    assert refusal.value.code is ErrorCode.adapter_mismatch
    assert refusal.value.detail.endswith("Merge it and upload the whole model.")
    return refusal.value.detail


def with_weights(folder: Path, ranks: dict[str, tuple[int | None, int | None]]) -> Path:
    folder.mkdir()
    write_weights(folder, ranks)
    return folder


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"peft_type": "IA3"}, "only LORA"),
        ({"r": 0}, "rank is 0"),
        ({"r": 4096}, "rank is 4096"),
        ({"r": True}, "rank is True"),
        ({"r": 8}, "does not fit it at the rank 8"),
        ({"lora_alpha": None}, "`lora_alpha` is None"),
        ({"lora_alpha": float("nan")}, "`lora_alpha` is nan"),
        ({"lora_alpha": 10**400}, "not a number"),
        ({"use_dora": True}, "DoRA"),
        ({"kasa_config": {}}, None),
        ({"kasa_config": {"beta": 1}}, "KaSA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
        ({"init_lora_weights": "pissa_niter_16"}, "`init_lora_weights` is 'pissa_niter_16'"),
        ({"init_lora_weights": "gaussian"}, None),
        ({"init_lora_weights": True}, None),
    ],
)
def test_configs(folder: Path, base: Model, changes: dict[str, Any], says: str | None) -> None:
    if says is None:
        assert checked(folder, base, **changes).rank == RANK
    else:
        assert says in refused(folder, base, **changes)


def test_tensors_that_belong_to_no_module_of_the_base(folder: Path, base: Model) -> None:
    with_weights(folder, {"model.layers.9.self_attn.q_proj": (RANK, None)})
    assert "the base has no matrix model.layers.9" in refused(folder, base)
    write_weights(folder, {"model.layers.0.input_layernorm": (RANK, RANK)})
    assert "the base has no matrix" in refused(folder, base, target_modules=["input_layernorm"])
    write_weights(folder, {"model.embed_tokens": (RANK, RANK)})
    assert "the base has no matrix" in refused(folder, base, target_modules=["embed_tokens"])
    save_file({"evil": torch.zeros(2)}, folder / WEIGHTS)
    assert "is not a LoRA matrix" in refused(folder, base)


@pytest.mark.parametrize(
    ("ranks", "says"),
    [
        ((RANK, None), "lora_B is missing"),
        ((None, RANK), "lora_A is missing"),
        ((RANK, 2 * RANK), "lora_B with the shape [64, 8] does not fit it"),
        ((2 * RANK, RANK), "lora_A with the shape [8, 64] does not fit it"),
    ],
)
def test_half_pairs(folder: Path, base: Model, ranks: tuple[int | None, int | None], says: str) -> None:
    assert says in refused(with_weights(folder, {QUERY: ranks}), base)


@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": ["q_proj", "o_proj", "nowhere"]},
        {"target_modules": [QUERY, "self_attn.o_proj"]},
        {"target_modules": "all-linear"},
        {"target_modules": r"model\.layers\.\d+\.self_attn\.(q|o)_proj"},
        {"target_modules": r"(?:.*?(?:layers|text).*?self_attn.*?(?:\b[qo]_proj))"},
        {"target_modules": ["q_proj", "o_proj"], "layers_to_transform": [0, 1]},
        {"target_modules": ["q_proj", "o_proj"], "layers_to_transform": [0, 1], "layers_pattern": "layers"},
        {"target_modules": ["q_proj", OTHER], "layers_to_transform": 0},
        {"target_modules": ["q_proj", "o_proj"], "exclude_modules": ["model.layers.0.self_attn.o_proj"]},
    ],
)
def test_modules_that_the_config_names(folder: Path, base: Model, changes: dict[str, Any]) -> None:
    with_weights(folder, {QUERY: (RANK, RANK), OTHER: (RANK, RANK)})
    assert checked(folder, base, **changes).rank == RANK


@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": ["q_proj"]},
        {"target_modules": ["q_proj", "proj", "model.layers.0.self_attn.o_proj"]},
        {"target_modules": r".*\.q_proj"},
        {"target_modules": ["q_proj", "o_proj"], "layers_to_transform": 0},
        {"target_modules": ["q_proj", "o_proj"], "layers_to_transform": [0, 1], "layers_pattern": ["ayers", "blocks"]},
        {"target_modules": ["q_proj", "o_proj"], "exclude_modules": ["o_proj"]},
        {"target_modules": "all-linear", "exclude_modules": r".*1.*"},
    ],
)
def test_weights_that_the_config_does_not_name(folder: Path, base: Model, changes: dict[str, Any]) -> None:
    """The engine would load them, and PEFT would not: what is scanned is not what others run."""
    with_weights(folder, {QUERY: (RANK, RANK), OTHER: (RANK, RANK)})
    assert "that its config does not adapt, such as model.layers." in refused(folder, base, **changes)


def test_the_output_layer_is_no_part_of_all_linear(folder: Path, base: Model) -> None:
    folder.mkdir()
    pair = {
        "base_model.model.lm_head.lora_A.weight": torch.zeros(RANK, WIDTH),
        "base_model.model.lm_head.lora_B.weight": torch.zeros(base.vocabulary_size, RANK),
    }
    save_file(pair, folder / WEIGHTS)
    assert "such as lm_head" in refused(folder, base, target_modules="all-linear")
    assert checked(folder, base, target_modules=["lm_head"]).rank == RANK


def test_ranks_that_differ_by_module(folder: Path, base: Model) -> None:
    with_weights(folder, {QUERY: (RANK, RANK), OTHER: (16, 16)})
    changes = {"target_modules": ["q_proj", "o_proj"], "alpha_pattern": {"o_proj": 2.5}}
    assert "does not fit it at the rank 4" in refused(folder, base, **changes)
    for key in ("o_proj", OTHER, f"^{OTHER}", OTHER.replace(".", r"\."), "layers.1.self_attn.o_proj"):
        assert checked(folder, base, rank_pattern={key: 16}, **changes).rank == 16
    assert "does not fit" in refused(folder, base, rank_pattern={"^o_proj": 16, "_proj": 16}, **changes)
    assert "rank 8" in refused(folder, base, rank_pattern={"o_proj": 8, OTHER: 16}, **changes)  # the first one counts


def test_the_engine_s_limit_holds_for_every_rank_of_the_config(folder: Path, base: Model) -> None:
    assert checked(folder, base, r=32, rank_pattern={"q_proj": RANK}).rank == 32
    assert "`rank_pattern` has the rank 128" in refused(folder, base, rank_pattern={"nowhere": 128})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"target_modules": None}, "`target_modules` names no module"),
        ({"target_modules": []}, "`target_modules` names no module"),
        ({"target_modules": [["q_proj"]]}, "`target_modules` is not a list of names"),
        ({"target_modules": {"q_proj": 1}}, "`target_modules` is not a list of names"),
        ({"target_modules": "(q_proj"}, "list the names of the modules"),
        ({"target_modules": "(.*)(.*)" * 1000}, "longer than 4096 characters"),
        ({"rank_pattern": {"(.*a){25}": 4}}, "`rank_pattern` has the key '(.*a){25}'"),
        ({"rank_pattern": {"q_proj|o_proj": 4}}, "use names of modules or ends of names"),
        ({"rank_pattern": {"q" * 300: 4}}, "use names of modules or ends of names"),
        ({"rank_pattern": {"q_proj": "4"}}, "the rank 4;"),
        ({"rank_pattern": ["q_proj"]}, "not a mapping"),
        ({"rank_pattern": {f"m{i}": 4 for i in range(501)}}, "not a mapping with at most 500"),
        ({"alpha_pattern": {"(a+)+": 4}}, "`alpha_pattern` has the key '(a+)+'"),
        ({"alpha_pattern": {"q_proj": "much"}}, "`alpha_pattern` has much, which is not a number"),
        ({"alpha_pattern": {"q_proj": float("inf")}}, "not a number"),
        ({"layers_to_transform": ["0"]}, "`layers_to_transform` has other values than numbers"),
        ({"layers_to_transform": [0], "layers_pattern": "(a+)+"}, "`layers_pattern` is '(a+)+'"),
        ({"layers_to_transform": [0], "layers_pattern": 7}, "`layers_pattern` is '7'"),
    ],
)
def test_hostile_patterns(folder: Path, base: Model, changes: dict[str, Any], says: str) -> None:
    assert says in refused(folder, base, **changes)


@pytest.mark.parametrize("field", ["target_modules", "exclude_modules"])
def test_an_expression_without_end_is_given_up(folder: Path, base: Model, field: str) -> None:
    started = time.monotonic()
    changes: dict[str, Any] = {field: "(.*.*.*.*.*.*.*.*.*.*)*!"}
    assert f"`{field}` is a regular expression, and it is invalid, or takes longer" in refused(folder, base, **changes)
    assert time.monotonic() - started < 15


def test_an_adapter_of_pickles_or_without_weights(folder: Path, base: Model) -> None:
    write_adapter(folder, base.path)
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(Refusal) as refusal:
        inspect_adapter(read_folder(folder, [folder]))
    assert refusal.value.code is ErrorCode.pickle_weights
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(Refusal) as refusal:
        inspect_adapter(read_folder(folder, [folder]))
    assert refusal.value.code is ErrorCode.weights_missing


def test_a_copied_adapter_is_not_confused_with_the_model(folder: Path, base: Model) -> None:
    shutil.copytree(base.path, folder)
    write_adapter(folder, base.path)
    with pytest.raises(Refusal, match=r"adapter_config\.json beside config\.json"):
        inspect_model(read_folder(folder, [folder]), 2**30)
