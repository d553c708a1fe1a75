"""Target minus reference, one tensor at a time, from the files that the planner has checked.

Must not import torch at module level: the environment has to be set before it loads.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from safetensors import SafetensorError, safe_open

from tokenforce_core.lens.result import Unreadable
from tokenforce_core.lens.roles import EMBEDDINGS, OUTPUTS
from tokenforce_core.lens.scores import Matrix
from tokenforce_core.plan.hashed import Hashed
from tokenforce_core.plan.plan import Plan
from tokenforce_workers.engine.lora_merge import LoraWeights

if TYPE_CHECKING:
    import torch

QUOTED_CHARACTERS = 100
"""Of a tensor's name, which an upload may call anything."""
_READ_AS_THEY_ARE = ("F64", "F32", "BF16", "F16")
"""Stored types that are the numbers themselves. Quantised ones need scales that lie elsewhere."""


class WeightDifference:
    """A context manager that closes its files. Implements `lens.difference.Difference`.

    Args:
        reference: the reference's files.
        target: the files of the target, or of the base of its adapter.
        adapter: the folder of a checked LoRA adapter.

    Raises:
        Unreadable: a file cannot be read.
    """

    def __init__(self, reference: Hashed, target: Hashed, adapter: Path | None) -> None:
        with ExitStack() as opening:
            self._reference = _Tensors(reference.files, opening)
            same = target.digest == reference.digest
            self._target = self._reference if same else _Tensors(target.files, opening)
            self._adapter = opening.enter_context(LoraWeights(adapter)) if adapter is not None else None
            self._open = opening.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def names(self) -> Collection[str]:
        return self._reference.names

    @property
    def added(self) -> Collection[str]:
        return set(self._target.names) - set(self._reference.names)

    def shape(self, name: str) -> tuple[int, ...]:
        """See `Difference.shape`."""
        return self._reference.shape(name)

    def reference(self, name: str) -> Matrix:
        """See `Difference.reference`."""
        return _finite(self._reference.get(name).numpy(), "reference", name)

    def change(self, name: str) -> Matrix | None:
        """See `Difference.change`."""
        found = self.change_tensor(name)
        return None if found is None else _finite(found.numpy(), "target", name)

    def change_tensor(self, name: str) -> torch.Tensor | None:
        """As `change`, for an engine's loader. Rows of an embedding that the reference lacks are left out."""
        found = None
        if self._target is not self._reference:
            found = self._moved(name)
        if self._adapter is not None and (product := self._adapter.product_of(name)) is not None:
            found = product if found is None else found + product
        return found

    def _moved(self, name: str) -> torch.Tensor | None:
        old, new = self._reference.get(name), self._target.get(_own_name(name, self._target.names))
        if name in (*EMBEDDINGS, *OUTPUTS) and old.shape[1:] == new.shape[1:]:
            rows = min(len(old), len(new))
            moved = old.new_zeros(old.shape)
            moved[:rows] = new[:rows] - old[:rows]
        elif old.shape == new.shape:
            moved = new - old  # a float32 tensor is the mapped file itself: nothing may write into it
        else:
            raise Unreadable(
                f"{shown(name)} has the shape {list(new.shape)} in the target and {list(old.shape)} in the reference"
            )
        return moved if bool(moved.any()) else None


def difference_of(plan: Plan) -> WeightDifference:
    """The weight difference of a plan with a reference. Raises `Unreadable`."""
    assert plan.reference is not None
    adapter = Path(plan.adapter) if plan.adapter is not None else None
    try:
        return WeightDifference(plan.reference.hashed, plan.hashed[0], adapter)
    except (OSError, ValueError, SafetensorError) as error:
        raise Unreadable(f"a file cannot be read ({type(error).__name__})") from error


def head_size(folder: Path) -> int | None:
    """Width of an attention head of the model in this folder, as its config.json says; None if it does not."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    inner = config.get("text_config")  # models of several modalities keep the language model's here
    own = inner if isinstance(inner, dict) else config
    size, width, heads = (own.get(name) for name in ("head_dim", "hidden_size", "num_attention_heads"))
    if isinstance(size, int):
        return size
    return width // heads if isinstance(width, int) and isinstance(heads, int) and heads else None


class _Tensors:
    """All tensors of some safetensors files, by name."""

    def __init__(self, files: Iterable[Path], opening: ExitStack) -> None:
        self._files: dict[str, Any] = {}
        for file in files:
            if file.suffix == ".safetensors":
                own = opening.enter_context(safe_open(file, framework="pt"))
                self._files |= dict.fromkeys(own.keys(), own)

    @property
    def names(self) -> Collection[str]:
        return self._files.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._files[name].get_slice(name).get_shape())

    def get(self, name: str) -> torch.Tensor:
        """In float32. Raises `Unreadable`."""
        if name not in self._files:
            raise Unreadable(f"the target has no tensor {shown(name)}")
        stored = self._files[name].get_slice(name).get_dtype()
        if stored not in _READ_AS_THEY_ARE:
            raise Unreadable(f"{shown(name)} is stored as {stored}, and quantised weights cannot be compared")
        tensor: torch.Tensor = self._files[name].get_tensor(name).float()
        return tensor


def shown(name: str) -> str:
    """A tensor's name as a message may quote it: short, and unable to pose as a sentence of ours."""
    return json.dumps(name[:QUOTED_CHARACTERS])


def _own_name(name: str, names: Collection[str]) -> str:
    """The tensor that does in the target what `name` does in the reference: with tied weights, the embedding."""
    if name in names or name not in OUTPUTS:
        return name
    return next((embedding for embedding in EMBEDDINGS if embedding in names), name)


def _finite(values: Matrix, whose: str, name: str) -> Matrix:
    if not np.isfinite(values).all():
        raise Unreadable(f"the {whose}'s {shown(name)} holds values that are not numbers")
    return values
