"""What the tensors of a model do, by their names: embedding, output matrix, final norm, and the projections by which
layers write.

The names are those of transformers. A family that is not here has no lens: a wrong guess would order the vocabulary by
noise, and look like an answer.
"""

from __future__ import annotations

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
_FINAL_NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f")
_LAYERS = ("layers", "h", "blocks")
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
_VALUE = "self_attn.v_proj"
_VALUES_GO_THROUGH = ("self_attn.o_proj", "self_attn.out_proj", "self_attn.dense")
"""The projection of the values of attention, and the matrix by which they reach the residual stream."""
_LONGEST_NUMBER = 5
"""Digits of a layer's number. Names are the upload's: they can be of any length, and are read in linear time."""


@dataclass(frozen=True)
class Roles:
    """Names of tensors by what they do. `output` is the embedding where the two are tied; `norm` None: not known.

    `writers`: name → layer. `values`: of each projection of values, the writer that they go through. `prefix`: what the
    names of all layers' tensors begin with, before the layer's number.
    """

    embedding: str
    output: str
    norm: str | None
    writers: dict[str, int]
    values: dict[str, str]
    layers: int
    prefix: str

    @property
    def tied(self) -> bool:
        return self.output == self.embedding


def layer_of(name: str, prefix: str) -> int | None:
    """The number of the layer that a tensor belongs to; None outside the layers."""
    if not name.startswith(prefix):
        return None
    number = name[len(prefix) : len(prefix) + _LONGEST_NUMBER + 1].partition(".")[0]
    return int(number) if number.isascii() and number.isdecimal() and len(number) <= _LONGEST_NUMBER else None


def roles_of(names: Collection[str]) -> Roles | None:
    """The roles of a model's tensors; None if its embedding or its output projections are not known by name."""
    embedding = next((name for name in EMBEDDINGS if name in names), None)
    if embedding is None:
        return None
    stem = embedding.rpartition(".")[0].rpartition(".")[0]  # "model" of "model.embed_tokens.weight"
    firsts = {before for name in names for before, zero, _ in [name.partition(".0.")] if zero}
    prefix = next((f"{stem}.{part}." for part in _LAYERS if f"{stem}.{part}" in firsts), "")
    found = {name: layer for name in names if prefix and (layer := layer_of(name, prefix)) is not None}
    writers = {
        name: layer
        for name, layer in found.items()
        if name.removeprefix(f"{prefix}{layer}.").removesuffix(".weight") in _WRITERS and name.endswith(".weight")
    }
    layers = max(found.values(), default=-1) + 1
    if not writers or layers > len(names):  # a number that counts nothing
        return None
    return Roles(
        embedding=embedding,
        output=next((name for name in OUTPUTS if name in names), embedding),
        norm=next((f"{stem}.{part}.weight" for part in _FINAL_NORMS if f"{stem}.{part}.weight" in names), None),
        writers=writers,
        values={
            value: writer
            for layer in set(found.values())
            for through in _VALUES_GO_THROUGH
            if (value := f"{prefix}{layer}.{_VALUE}.weight") in found
            and (writer := f"{prefix}{layer}.{through}.weight") in writers
        },
        layers=layers,
        prefix=prefix,
    )
