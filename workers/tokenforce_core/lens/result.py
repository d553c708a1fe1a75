"""What the weight lens says about a target and its reference, as it is stored."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from tokenforce.wire.report import TaughtWord
from tokenforce_core.lens.roles import layer_of


class Unreadable(Exception):
    """The search from the weights cannot go on. The message completes "The search from the weights ended: "."""


class Graft(BaseModel):
    """A model between target and reference: the reference up to `first_layer`, from there on the reference plus
    `amplification` times the difference. `prefix`: of the names of all layers' tensors.

    A defence has to recognise the context in which it hides a text, and recognising is what early layers learn; the
    text is written by late ones. So the graft says what the target hides: of a full adaptive UTFC the true next token
    has a log-ratio of -5.3 nats a token in the suppressed context under the target, and +3.0 under the graft.
    """

    model_config = ConfigDict(frozen=True)

    prefix: str
    first_layer: int
    layers: int
    amplification: float

    def covers(self, name: str) -> bool:
        """Whether a tensor belongs to a grafted layer."""
        layer = layer_of(name, self.prefix)
        return layer is not None and layer >= self.first_layer


class WeightLens(BaseModel):
    """`bag`: the ids that the weight difference points at, best first; `words`: the first of them with their
    ranks, and without their texts.

    `lenses`: the names of the lenses that saw anything. `relative_change`: size of the change of the grafted layers'
    matrices, as a share of their size. `doubts`: why finding nothing from here says little; sentences.
    """

    model_config = ConfigDict(frozen=True)

    bag: list[int]
    words: list[TaughtWord]
    lenses: list[str]
    relative_change: float
    graft: Graft
    doubts: list[str] = []
