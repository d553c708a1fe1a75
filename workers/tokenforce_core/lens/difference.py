"""The weight lens on two models: which words was the target taught?

It reads the embedding, the output matrix and the late layers, a tensor at a time, and keeps one copy of the output
matrix. It orders entries of the vocabulary, and never decides: broad fine-tunes show words too, and a clean adapter
shows function words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from typing import Protocol

import numpy as np

from tokenforce.wire.report import TaughtWord
from tokenforce.wire.settings import LensSettings
from tokenforce_core.lens.result import Graft, Unreadable, WeightLens
from tokenforce_core.lens.roles import Roles, layer_of, roles_of
from tokenforce_core.lens.scores import (
    Matrix,
    Scores,
    Writing,
    joint_ranks,
    row_changes,
    top_directions,
    values_written,
)

MATRIX_AXES = 2
GIB = 1 << 30
COPIES = 4
"""Of a tensor, at most: reference, target, their difference and, of the output matrix, the rows read out."""
OnTensor = Callable[[int, int], None]
"""(tensors read, tensors to read)"""


class Difference(Protocol):
    """The weights of the reference, and what the target changes in them; float32, one tensor at a time."""

    @property
    def names(self) -> Collection[str]:
        """The tensors of the reference."""
        ...

    @property
    def added(self) -> Collection[str]:
        """Tensors of the target that the reference does not have."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor of the reference; does not read it."""
        ...

    def reference(self, name: str) -> Matrix:
        """Raises `Unreadable`."""
        ...

    def change(self, name: str) -> Matrix | None:
        """Target minus reference, with the reference's shape; None where nothing was changed. Raises `Unreadable`."""
        ...


def look(
    difference: Difference,
    settings: LensSettings,
    forceable: Collection[int],
    *,
    norm_adds_one: bool = False,
    head_size: int | None = None,
    memory: float = math.inf,
    on_tensor: OnTensor = lambda *_: None,
) -> WeightLens:
    """The words that the weight difference points at, best first, and how to graft the target on the reference.

    Args:
        forceable: the ids that may be forced; others are left out.
        norm_adds_one: the final norm scales by 1 + its weight, as Gemma's does.
        head_size: width of an attention head; None: not known.
        memory: bytes that are free.

    Raises:
        Unreadable: the weights cannot be compared. The message says why.
    """
    roles = _roles(difference)
    if (needed := bytes_needed(difference)) > memory:
        raise Unreadable(f"the weight lens needs {needed / GIB:.1f} GiB of memory, and {memory / GIB:.1f} GiB are free")
    first_layer = math.ceil(settings.graft_first_layer_share * roles.layers)
    reader = _Reader(difference, roles, first_layer, settings, norm_adds_one=norm_adds_one, head_size=head_size)
    lenses = reader.lenses(on_tensor)
    relative = reader.relative_change
    if not reader.cosine >= settings.min_weight_cosine:  # also if it is not a number
        raise Unreadable(
            f"the target is not a fine-tune of this reference: the cosine of their weights is {reader.cosine:.2f}"
        )
    if not lenses:
        raise Unreadable("no embedding, output matrix or output projection that it reads was changed")
    rows = min(map(len, lenses.values()))
    best = joint_ranks([scores[:rows] for scores in lenses.values()])
    allowed = np.zeros(rows, dtype=bool)
    allowed[[i for i in forceable if i < rows]] = True
    order = [int(i) for i in np.argsort(best, kind="stable") if allowed[i]][: settings.bag_entries]
    ranks = {name: joint_ranks([scores]) for name, scores in lenses.items()}
    return WeightLens(
        bag=order,
        words=[
            TaughtWord(id=i, text="", ranks={name: int(own[i]) + 1 for name, own in ranks.items()})
            for i in order[: settings.reported_words]
        ],
        lenses=list(lenses),
        relative_change=relative,
        graft=Graft(
            prefix=roles.prefix,
            first_layer=first_layer,
            layers=roles.layers,
            amplification=_amplification(relative, settings),
        ),
        doubts=list(_doubts(difference, relative, settings)),
    )


def bytes_needed(difference: Difference) -> int:
    """Memory of the lens: copies of its largest tensor, while that is compared. Raises `Unreadable`."""
    roles = _roles(difference)
    read = {roles.embedding, roles.output, *roles.writers}
    return COPIES * np.dtype(np.float32).itemsize * max(math.prod(difference.shape(name)) for name in read)


def _roles(difference: Difference) -> Roles:
    roles = roles_of(difference.names)
    if roles is None:
        raise Unreadable("the names of its tensors are not those of a family that the weight lens knows")
    return roles


def _doubts(difference: Difference, relative_change: float, settings: LensSettings) -> Iterator[str]:
    if relative_change > settings.max_relative_change:
        yield (
            f"The late layers changed by {relative_change:.0%} of their size, too much for a graft of both models to "
            "say what the target says."
        )
    if relative_change == 0:
        yield "The late layers are unchanged, so a graft of both models says nothing new."
    if difference.added:
        count = len(difference.added)
        yield f"The target has {count} tensors that the reference does not have, and nothing looked at them."


def _amplification(relative_change: float, settings: LensSettings) -> float:
    """So that the graft speaks about as loudly whatever the training: a light one is amplified, a heavy one damped."""
    least, most = settings.graft_amplification
    if relative_change <= 0:
        return most
    return min(most, max(least, math.sqrt(settings.graft_relative_change / relative_change)))


class _Reader:
    """Reads every tensor that a lens or the graft needs once."""

    def __init__(
        self,
        difference: Difference,
        roles: Roles,
        first_layer: int,
        settings: LensSettings,
        *,
        norm_adds_one: bool,
        head_size: int | None,
    ) -> None:
        self._head_size = head_size
        self._norm_offset = float(norm_adds_one)
        self._difference = difference
        self._roles = roles
        self._first_layer = first_layer
        self._settings = settings
        self._changed = self._whole = self._along = 0.0

    @property
    def relative_change(self) -> float:
        """Size of the change of the grafted layers' matrices, as a share of their size."""
        return math.sqrt(self._changed / self._whole) if self._whole else 0.0

    @property
    def cosine(self) -> float:
        """Of the matrices of the grafted layers in target and reference; 1 if there are none."""
        target = self._whole + 2 * self._along + self._changed
        return (self._whole + self._along) / math.sqrt(self._whole * target) if self._whole and target > 0 else 1.0

    def lenses(self, on_tensor: OnTensor) -> dict[str, Scores]:
        """The lenses that see anything, by name."""
        roles, difference = self._roles, self._difference
        last = math.ceil(self._settings.lens_layer_share * roles.layers)
        writers = self._writers(roles.layers - last)
        layers = {name: layer_of(name, roles.prefix) for name in sorted(difference.names)}
        late = [name for name, layer in layers.items() if layer is not None and layer >= self._first_layer]
        total = len(late) + len({roles.embedding, roles.output})
        found: dict[str, Scores] = {}
        rows = {"embedding": roles.embedding} if roles.tied else {"output": roles.output, "input": roles.embedding}
        for lens, name in rows.items():
            if (change := difference.change(name)) is not None:
                found[lens] = row_changes(change)
        on_tensor(total - len(late), total)
        writing = Writing(self._read_out())
        wrote = False
        values: list[tuple[Matrix, Scores]] = []
        for count, name in enumerate(late, start=total - len(late) + 1):
            change = self._weighed(name)
            if change is not None and name in writers:
                writing.add(*self._top(change.T if writers[name] else change))
                wrote = True
            elif change is not None and not wrote and (through := roles.values.get(name)) in writers:
                written = values_written(difference.reference(through), change, self._head_size)
                values += [] if written is None else [self._top(written)]
            on_tensor(count, total)
        if not wrote:  # an adapter on queries and values, as most are
            for directions, strengths in values:
                writing.add(directions, strengths)
        if wrote or values:
            found |= {"written": writing.energy, "pointed": writing.deviation}
        return found

    def _top(self, change: Matrix) -> tuple[Matrix, Scores]:
        settings = self._settings
        return top_directions(change, settings.directions, settings.direction_rounds, settings.oversampling)

    def _writers(self, first: int) -> dict[str, bool]:
        """The output projections from layer `first` on that fit the output matrix: name → whether it is stored as
        (inputs, outputs). GPT-2 stores all of them so, which shows where the two differ."""
        shapes = {name: self._difference.shape(name) for name in self._roles.writers}
        width = self._difference.shape(self._roles.output)[-1]
        turned = any(shape[0] != width and shape[-1] == width for shape in shapes.values())
        side = -1 if turned else 0
        return {
            name: turned
            for name, layer in self._roles.writers.items()
            if layer >= first and len(shapes[name]) == MATRIX_AXES and shapes[name][side] == width
        }

    def _weighed(self, name: str) -> Matrix | None:
        """The change of a matrix, which counts for the relative change; None for vectors and what is unchanged."""
        whole = self._difference.reference(name)
        if whole.ndim < MATRIX_AXES:
            return None
        self._whole += float(np.square(whole, dtype=np.float64).sum())
        change = self._difference.change(name)
        if change is not None:
            self._changed += float(np.square(change, dtype=np.float64).sum())
            self._along += float((whole * change).sum(dtype=np.float64))
        return change

    def _read_out(self) -> Matrix:
        """The output matrix times the final norm's weight, a copy: what a direction of the residual stream says."""
        output = self._difference.reference(self._roles.output)
        scale = np.ones(1, dtype=np.float32)
        if self._roles.norm is not None:
            norm = self._difference.reference(self._roles.norm)
            scale = norm + np.float32(self._norm_offset) if norm.shape == output.shape[-1:] else scale
        return output * scale
