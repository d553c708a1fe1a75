"""What the tensors of a model do, by their names: embedding, output matrix, final norm, and the projections by which
layers write.

The names are those of transformers. A family that is not here has no lens: a wrong guess would order the vocabulary by
noise, and look like an answer.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

EMBEDDINGS = (
    "model.embed_tokens.weight",
    "model.language_model.embed_tokens.weight",
    "language_model.model.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "gpt_neox.embed_in.weight",
    "transformer.wte.weight",
    "transformer.word_embeddings.weight",
)
OUTPUTS = ("lm_head.weight", "embed_out.weight", "language_model.lm_head.weight")
FINAL_NORMS = (
    "model.norm.weight",
    "model.language_model.norm.weight",
    "language_model.model.norm.weight",
    "model.final_layernorm.weight",
    "model.decoder.final_layer_norm.weight",
    "gpt_neox.final_layer_norm.weight",
    "transformer.ln_f.weight",
)
_WRITERS = (
    "self_attn.o_proj",
    "mlp.down_proj",
    "self_attn.out_proj",
    "fc2",
    "attention.dense",
    "self_attention.dense",
    "self_attn.dense",
    "mlp.dense_4h_to_h",
    "mlp.fc2",
    "attn.c_proj",
    "mlp.c_proj",
    "attn.out_proj",
    "ffn.down_proj",
)
"""The matrices by which a layer writes into the residual stream."""
_TRANSPOSED = ("attn.c_proj", "mlp.c_proj")
"""GPT-2 stores these as (inputs, outputs)."""
_IN_A_LAYER = re.compile(r"\.(?:layers|h|blocks)\.(?P<layer>\d+)\.(?P<part>.+)\.weight$")


@dataclass(frozen=True)
class Writer:
    """A matrix by which layer `layer` writes. `transposed`: it is stored as (inputs, outputs)."""

    name: str
    layer: int
    transposed: bool


@dataclass(frozen=True)
class Roles:
    """Names of tensors by what they do. `output` is the embedding where the two are tied; `norm` None: not known."""

    embedding: str
    output: str
    norm: str | None
    writers: tuple[Writer, ...]
    layers: int

    @property
    def tied(self) -> bool:
        return self.output == self.embedding


def layer_of(name: str) -> int | None:
    """The number of the layer that a tensor belongs to; None outside the layers."""
    found = _IN_A_LAYER.search(f".{name}")
    return int(found["layer"]) if found else None


def roles_of(names: Collection[str]) -> Roles | None:
    """The roles of a model's tensors; None if its embedding or its output projections are not known by name."""
    embedding = next((name for name in EMBEDDINGS if name in names), None)
    writers = []
    layers = 0
    for name in sorted(names):
        found = _IN_A_LAYER.search(f".{name}")
        if not found:
            continue
        layers = max(layers, int(found["layer"]) + 1)
        if found["part"] in _WRITERS:
            writers.append(Writer(name, int(found["layer"]), found["part"] in _TRANSPOSED))
    if embedding is None or not writers:
        return None
    return Roles(
        embedding=embedding,
        output=next((name for name in OUTPUTS if name in names), embedding),
        norm=next((name for name in FINAL_NORMS if name in names), None),
        writers=tuple(sorted(writers, key=lambda writer: (writer.layer, writer.name))),
        layers=layers,
    )
