"""Safetensors files as named byte ranges: what is in them, and whether two sets of files hold the same."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.refusals import Refusal

CHUNK = 16 << 20
MAX_HEADER_BYTES = 64 << 20
"""Of all files together: a model of 400,000 tensors. Parsed they may take ten times as much memory."""


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: bytes [start, stop) of `file`."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def parameters(self) -> int:
        count = 1
        for extent in self.shape:
            count *= extent
        return count


def tensors(files: Iterable[Path]) -> dict[str, Tensor]:
    """All tensors of safetensors files by name; the library has checked that offsets fit the file.

    Raises:
        Refusal: `weights_corrupt`, also for a name in two files: which of the two an engine loads is a matter of
            its order of reading, so that what is compared here need not be what is loaded there. `model_too_large`,
            if the headers are.
    """
    found: dict[str, Tensor] = {}
    left = MAX_HEADER_BYTES
    for file in files:
        try:
            with file.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                if left < length < file.stat().st_size:  # beyond the file's end it is damaged, which the library says
                    raise Refusal(
                        ErrorCode.model_too_large,
                        f"The headers of the weights take more than {MAX_HEADER_BYTES >> 20} MiB; store the weights in "
                        "fewer tensors, or without long metadata.",
                    )
                left -= length
                with safe_open(file, framework="numpy"):
                    pass
                header = json.loads(stream.read(length))
        except (SafetensorError, OSError, ValueError) as error:
            raise Refusal(
                ErrorCode.weights_corrupt, f"{file.name} is truncated or damaged; upload it again."
            ) from error
        for name, entry in header.items():
            if name != "__metadata__":
                if name in found:
                    raise Refusal(
                        ErrorCode.weights_corrupt,
                        f"{found[name].file.name} and {file.name} both hold the tensor {name[:100]}, and which one "
                        "counts is open; remove the file that is not part of the model.",
                    )
                start, stop = (8 + length + offset for offset in entry["data_offsets"])
                found[name] = Tensor(file, entry["dtype"], tuple(entry["shape"]), start, stop)
    if not found:
        raise Refusal(ErrorCode.weights_corrupt, "The weight files hold no tensors; upload them again.")
    return found


def identical(one: Iterable[Path], other: Iterable[Path]) -> bool:
    """Whether both hold the same tensors, byte for byte; stops at the first difference."""
    mine, theirs = tensors(one), tensors(other)
    if {n: (t.dtype, t.shape) for n, t in mine.items()} != {n: (t.dtype, t.shape) for n, t in theirs.items()}:
        return False
    return all(_same_bytes(mine[name], theirs[name]) for name in sorted(mine))


def _same_bytes(one: Tensor, other: Tensor) -> bool:
    with one.file.open("rb") as a, other.file.open("rb") as b:
        a.seek(one.start)
        b.seek(other.start)
        left = one.stop - one.start
        while left > 0:
            size = min(CHUNK, left)
            if a.read(size) != b.read(size):
                return False
            left -= size
    return True
