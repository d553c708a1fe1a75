"""Safetensors files as named byte ranges: what is in them, and whether two sets of files hold the same.

A header is read once and checked by the rules of the format (https://github.com/huggingface/safetensors, "Format"). The
library would open each file a second time, and does not show byte ranges. What passes here passes the library too, with
the same names, types and shapes; tests/unit/models/test_tensors.py compares the two.
"""

from __future__ import annotations

import gc
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.refusals import Refusal

CHUNK_BYTES = 16 << 20
MAX_HEADER_BYTES = 64 << 20
"""Of all files together: a model of 400,000 tensors. While headers are parsed, they take 24 times as much memory."""
MOST_PARAMETERS = 1 << 50
"""Of one tensor, and of any leading part of its shape: far from the numbers that overflow in an engine."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
COMPUTED_AS = {"F64": "float32", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""Stored type → type to compute in. Quantised types have none."""
_BITS = {
    "F4": 4,
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("C64", "F64", "I64", "U64"), 64),
}
"""Bits of one element of each type that the format knows (safetensors 0.8)."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies: bytes [start, stop) of `file`."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)


def read_tensors(files: Iterable[Path]) -> dict[str, Tensor]:
    """All tensors of safetensors files by name. Opens each file once and reads its header only.

    Raises:
        Refusal: `weights_corrupt`, also for a name that occurs twice: which of the two an engine loads depends on the
            order in which it reads, so what is checked here need not be what is loaded there. `model_too_large` if
            the headers are.
    """
    found: dict[str, Tensor] = {}
    left = MAX_HEADER_BYTES
    for file in files:
        try:
            length, own = _read_header(file, left)
        except (OSError, ValueError, RecursionError) as error:  # ValueError: JSON's errors too
            raise Refusal(
                ErrorCode.weights_corrupt, f"{file.name} is truncated or damaged; upload it again."
            ) from error
        left -= length
        for name, tensor in own.items():
            if name in found:
                raise Refusal(
                    ErrorCode.weights_corrupt,
                    f"{found[name].file.name} and {file.name} both hold the tensor {name[:100]}, so it is unclear "
                    "which one counts; remove the file that is not part of the model.",
                )
            found[name] = tensor
    if not found:
        raise Refusal(ErrorCode.weights_corrupt, "The weight files hold no tensors; upload them again.")
    return found


def _read_header(file: Path, limit: int) -> tuple[int, dict[str, Tensor]]:
    """Bytes of the header and the tensors in it.

    Raises:
        ValueError: it is not a safetensors header, or does not describe this file.
        Refusal: `model_too_large`.
    """
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        length = int.from_bytes(stream.read(8), "little")
        if limit < length < size:  # a length beyond the end of the file is damage
            raise Refusal(
                ErrorCode.model_too_large,
                f"The headers of the weights take more than {MAX_HEADER_BYTES >> 20} MiB; store the weights in "
                "fewer tensors, or without long metadata.",
            )
        if size < 8 + length:
            raise ValueError("the file ends within its header")
        header = _parsed(stream.read(length).decode())
    if not isinstance(header, dict):
        raise ValueError("the header is not an object")
    metadata = header.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("the metadata are not strings")
    for value in metadata.values():
        value.encode()  # as for names, in _each_once
    found = dict(_tensors(file, header, 8 + length))
    end = 8 + length
    for tensor in sorted(found.values(), key=lambda tensor: (tensor.start, tensor.stop)):
        if tensor.start != end:
            raise ValueError("the tensors overlap or leave a gap")
        end = tensor.stop
    if end != size:
        raise ValueError("the file is longer or shorter than its tensors")
    return length, found


def _parsed(text: str) -> Any:
    """JSON as the library reads it. Without garbage collection: it would look at each new entry again and again."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        return json.loads(text, object_pairs_hook=_each_once, parse_int=_number)
    finally:
        if collecting:
            gc.enable()


def _number(digits: str) -> int:
    if digits == "-0":  # Python reads 0, the library a fraction
        raise ValueError("a number is not a count")
    return int(digits)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    for name in found:
        name.encode()  # fails for half a surrogate pair, which Python takes from JSON and the library does not
    return found


def _tensors(file: Path, header: Mapping[str, Any], data: int) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a header, each with as many bytes as its type and shape take; `data` is where the first begins."""
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError("an entry has other fields")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _BITS:
            raise ValueError("the type is unknown")
        if not (isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2):
            raise ValueError("the shape or the byte range is not a list")
        if any(type(number) is not int or not 0 <= number < 1 << 64 for number in (*shape, *offsets)):
            raise ValueError("a number is not a count")
        parameters = 1
        for extent in shape:
            parameters *= extent
            if parameters > MOST_PARAMETERS:
                raise ValueError("the shape is too large")
        start, stop = offsets
        if 8 * (stop - start) != parameters * _BITS[dtype]:
            raise ValueError("the byte range does not fit the shape")
        yield name, Tensor(file, dtype, tuple(shape), data + start, data + stop)


def mostly_stored_as(tensors: Mapping[str, Tensor]) -> tuple[str, int]:
    """The type in which most parameters are stored, and the number of all parameters."""
    counts: dict[str, int] = {}
    for tensor in tensors.values():
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.parameters
    return max(counts, key=lambda dtype: counts[dtype]), sum(counts.values())


def no_weights(what: str, names: Iterable[str], wanted: str = "*.safetensors") -> Refusal:
    """The refusal of a model or adapter without safetensors: `pickle_weights` or `weights_missing`.

    Args:
        what: the subject of the sentence.
        names: of the files that there are.
    """
    if any(name.endswith(PICKLES) for name in names):
        return Refusal(
            ErrorCode.pickle_weights,
            f"{what} has its weights as pickles, which can run code when they are loaded; save them as safetensors.",
        )
    return Refusal(ErrorCode.weights_missing, f"{what} has no {wanted}; upload the weights.")


def identical(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether both hold the same tensors, byte for byte; stops at the first difference."""
    if {n: (t.dtype, t.shape) for n, t in one.items()} != {n: (t.dtype, t.shape) for n, t in other.items()}:
        return False
    return all(_same_bytes(one[name], other[name]) for name in sorted(one))


def _same_bytes(one: Tensor, other: Tensor) -> bool:
    with one.file.open("rb") as a, other.file.open("rb") as b:
        a.seek(one.start)
        b.seek(other.start)
        left = one.stop - one.start
        while left > 0:
            size = min(CHUNK_BYTES, left)
            if a.read(size) != b.read(size):
                return False
            left -= size
    return True
