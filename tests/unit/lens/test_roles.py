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
    assert [writer.name.split(".", 3)[3] for writer in roles.writers[:2]] == [
        "mlp.down_proj.weight",
        "self_attn.o_proj.weight",
    ]


def test_an_untied_model_is_read_out_through_its_output_matrix() -> None:
    roles = roles_of([*LLAMA, "lm_head.weight"])
    assert roles is not None
    assert (roles.output, roles.tied) == ("lm_head.weight", False)


@pytest.mark.parametrize(("names", "writers"), [(GPT_NEOX, 4), (GPT_2, 1)], ids=["gpt-neox", "gpt-2"])
def test_other_families(names: list[str], writers: int) -> None:
    roles = roles_of(names)
    assert roles is not None
    assert len(roles.writers) == writers
    assert roles.writers[0].transposed is (names is GPT_2)


@pytest.mark.parametrize(
    "names", [[], ["encoder.word.weight"], LLAMA[:2], LLAMA[2:]], ids=["none", "unknown", "no layers", "no embedding"]
)
def test_a_family_that_is_not_known_has_no_roles(names: list[str]) -> None:
    assert roles_of(names) is None


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.layers.0.mlp.up_proj.weight", 0),
        ("transformer.h.11.attn.c_attn.weight", 11),
        ("model.layers.2.block_sparse_moe.experts.5.w2.weight", 2),
        ("model.embed_tokens.weight", None),
        ("layers_of_paint.3.weight", None),
    ],
)
def test_the_layer_of_a_tensor(name: str, layer: int | None) -> None:
    assert layer_of(name) == layer
