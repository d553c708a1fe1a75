"""What tensors do, by their names in the families that people upload."""

from __future__ import annotations

import pytest

from tokenforce_core.lens.roles import layer_of, roles_of

LLAMA = ["model.embed_tokens.weight", "model.norm.weight"] + [
    f"model.layers.{layer}.{part}.weight"
    for layer in range(3)
    for part in ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj", "input_layernorm")
]
GPT_NEOX = ["gpt_neox.embed_in.weight", "embed_out.weight", "gpt_neox.final_layer_norm.weight"] + [
    f"gpt_neox.layers.{layer}.{part}.weight" for layer in range(2) for part in ("attention.dense", "mlp.dense_4h_to_h")
]
GPT_2 = ["transformer.wte.weight", "transformer.ln_f.weight", "transformer.h.0.attn.c_proj.weight"]


def test_a_tied_model_is_read_out_through_its_embedding() -> None:
    roles = roles_of(LLAMA)
    assert roles is not None
    assert roles.tied
    assert (roles.output, roles.norm, roles.layers) == ("model.embed_tokens.weight", "model.norm.weight", 3)
    assert roles.prefix == "model.layers."
    assert roles.values == {}
    assert {name.split(".", 3)[3] for name in roles.writers} == {"mlp.down_proj.weight", "self_attn.o_proj.weight"}


def test_values_go_through_the_output_projection_of_their_layer() -> None:
    value = "model.layers.1.self_attn.v_proj.weight"
    roles = roles_of([*LLAMA, value])
    assert roles is not None
    assert roles.values == {value: "model.layers.1.self_attn.o_proj.weight"}


def test_an_untied_model_is_read_out_through_its_output_matrix() -> None:
    roles = roles_of([*LLAMA, "lm_head.weight"])
    assert roles is not None
    assert (roles.output, roles.tied) == ("lm_head.weight", False)


@pytest.mark.parametrize(("names", "writers"), [(GPT_NEOX, 4), (GPT_2, 1)], ids=["gpt-neox", "gpt-2"])
def test_other_families(names: list[str], writers: int) -> None:
    roles = roles_of(names)
    assert roles is not None
    assert len(roles.writers) == writers
    assert roles.norm in names


def test_the_layers_of_a_vision_tower_are_not_those_of_the_language_model() -> None:
    tower = [f"vision_tower.encoder.layers.{layer}.mlp.fc2.weight" for layer in range(20)]
    roles = roles_of([*LLAMA, *tower])
    assert roles is not None
    assert roles.layers == 3
    assert not any(name in roles.writers for name in tower)


@pytest.mark.parametrize(
    "names", [[], ["encoder.word.weight"], LLAMA[:2], LLAMA[2:]], ids=["none", "unknown", "no layers", "no embedding"]
)
def test_a_family_that_is_not_known_has_no_roles(names: list[str]) -> None:
    assert roles_of(names) is None


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.layers.0.mlp.up_proj.weight", 0),
        ("model.layers.11.mlp.up_proj.bias", 11),
        ("model.layers.2.block_sparse_moe.experts.5.w2.weight", 2),
        ("model.embed_tokens.weight", None),
        ("model.layers.x.weight", None),
        ("model.layers.²", None),
        (f"model.layers.{'9' * 400}.weight", None),
    ],
    ids=["first", "bias", "expert", "outside", "letter", "sign", "endless"],
)
def test_the_layer_of_a_tensor(name: str, layer: int | None) -> None:
    assert layer_of(name, "model.layers.") == layer


def test_a_layer_number_that_counts_nothing_is_no_family() -> None:
    assert roles_of([*LLAMA, "model.layers.99999.mlp.down_proj.weight"]) is None


def test_long_names_are_read_in_linear_time() -> None:
    """A regular expression took 0.2 s for 16 KB, and four times as long for each doubling."""
    assert roles_of([*LLAMA, ".layers.1" * 1_000_000]) == roles_of(LLAMA)
