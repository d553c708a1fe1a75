"""The nearest of the bases that the operator knows, for a target whose request names no reference.

Only these can be found, because what an upload names itself may hold the same hidden text. We gave up the base in the
model card, which `auto` takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tokenforce_service.models.model import Model
from tokenforce_service.models.tensors import Tensor

MIN_COSINE = 0.9
"""Fine-tunes have 0.99 and more with their base, independent models 0."""
SAMPLED_TENSORS = 12
SAMPLED_PARAMETERS = 1 << 18
"""Leading parameters of each sampled tensor: a pair of large models takes a fraction of a second."""
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""Types to read as. The upper half of a 32-bit float is a BF16, which numpy does not know."""

Floats = npt.NDArray[np.float64]


def nearest_base(target: Model, bases: Mapping[str, Model]) -> str | None:
    """The name of the base whose weights have the largest cosine with the target's; None if none has `MIN_COSINE`."""
    cosines = {name: cosine(target, base) for name, base in bases.items()}
    best = max(cosines, key=lambda name: cosines[name], default=None)
    return best if best is not None and cosines[best] >= MIN_COSINE else None


def cosine(target: Model, base: Model) -> float:
    """Of a sample of the matrices of both; -1 if the two models cannot be compared.

    A fine-tune may have more tokens than its base, so the numbers of rows may differ.
    """
    matrices = sorted(name for name, tensor in base.tensors.items() if len(tensor.shape) > 1)
    common = [name for name in matrices if _fit(target.tensors.get(name), base.tensors[name])]
    if target.architecture != base.architecture or not common or len(common) < len(matrices) / 2:
        return -1.0
    pairs = [(target.tensors[name], base.tensors[name]) for name in _spread(common)]
    counts = [min(one.parameters, other.parameters, SAMPLED_PARAMETERS) for one, other in pairs]
    ours = np.concatenate([_leading(one, count) for (one, _), count in zip(pairs, counts, strict=True)])
    theirs = np.concatenate([_leading(other, count) for (_, other), count in zip(pairs, counts, strict=True)])
    length = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    value = float(ours @ theirs) / length if length else -1.0
    return value if np.isfinite(value) else -1.0


def _fit(one: Tensor | None, other: Tensor) -> bool:
    return one is not None and one.shape[1:] == other.shape[1:] and one.dtype in _FLOATS and other.dtype in _FLOATS


def _spread(names: Sequence[str]) -> list[str]:
    """At most `SAMPLED_TENSORS` of the names, evenly spread."""
    step = max(1, len(names) // SAMPLED_TENSORS)
    return list(names[::step][:SAMPLED_TENSORS])


def _leading(tensor: Tensor, count: int) -> Floats:
    """The first `count` parameters."""
    dtype = np.dtype(_FLOATS[tensor.dtype])
    with tensor.file.open("rb") as file:
        file.seek(tensor.start)
        raw = np.frombuffer(file.read(count * dtype.itemsize), dtype=dtype)
    if tensor.dtype == "BF16":
        raw = (raw.astype("<u4") << 16).view("<f4")
    return raw.astype(np.float64)
