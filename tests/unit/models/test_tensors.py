"""Safetensors headers: what our rules let through, the library reads as well, and in the same way."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.models.tensors import MAX_HEADER_BYTES, identical, read_tensors
from tokenforce_service.refusals import Refusal

Facts = dict[str, tuple[str, list[int]]]
DTYPES = ("F64", "F32", "BF16", "F16", "I64", "U8", "BOOL", "F8_E4M3", "F4", "F6_E2M3", "X")
GOOD = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


def written(folder: Path, header: bytes, data: int) -> Path:
    file = folder / "weights.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(data))
    return file


def ours(file: Path) -> Facts | None:
    """Name → type and shape; None if the file is refused."""
    try:
        return {name: (tensor.dtype, list(tensor.shape)) for name, tensor in read_tensors([file]).items()}
    except Refusal as refusal:
        if refusal.code is not ErrorCode.weights_corrupt:
            raise
        return None


def the_library_s(file: Path) -> Facts | None:
    try:
        with safe_open(file, framework="numpy") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            return {name: (found.get_dtype(), list(found.get_shape())) for name, found in slices.items()}
    except SafetensorError:
        return None


@st.composite
def headers(draw: st.DrawFn) -> tuple[bytes, int]:
    """A header and the bytes of data behind it, sound or with some numbers changed."""
    header: dict[str, Any] = {}
    end = 0
    for number in range(draw(st.integers(1, 4))):
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        dtype = draw(st.sampled_from(DTYPES))
        bits = {"F64": 64, "I64": 64, "F32": 32, "BF16": 16, "F16": 16, "F4": 4, "F6_E2M3": 6}.get(dtype, 8)
        count = 1
        for extent in shape:
            count *= extent
        stop = end + count * bits // 8 + draw(st.sampled_from([0] * 30 + [1, -1]))
        header[f"w{number}"] = {"dtype": dtype, "shape": shape, "data_offsets": [end, stop]}
        end = stop + draw(st.sampled_from([0] * 30 + [1, -1]))
    if draw(st.booleans()):
        header["__metadata__"] = draw(st.sampled_from([{"format": "pt"}, {}, None, {"k": 1}, []]))
    raw = json.dumps(header).encode() + b" " * draw(st.integers(0, 3))
    return raw, max(0, end + draw(st.sampled_from([0] * 20 + [1, -1])))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=headers())
def test_headers_are_read_as_the_library_reads_them(tmp_path: Path, made: tuple[bytes, int]) -> None:
    file = written(tmp_path, *made)
    assert ours(file) == (the_library_s(file) or None)  # a file without tensors is refused here


@pytest.mark.parametrize(
    ("header", "sound"),
    [
        (f'{{"a":{GOOD}}}', True),
        (f' {{"a":{GOOD}}} \n', True),
        (f'{{"":{GOOD}}}', True),
        (f'{{"a":{GOOD},"__metadata__":{{"k":"v"}}}}', True),
        (f'{{"a":{GOOD}}}x', False),
        (f'\ufeff{{"a":{GOOD}}}', False),
        (f'{{"a":{GOOD},"a":{GOOD}}}', False),
        (f'{{"a":{GOOD},"__metadata__":{{"k":"v"}},"__metadata__":{{}}}}', False),
        (f'{{"\\ud800":{GOOD}}}', False),
        (f'{{"a":{GOOD},"__metadata__":{{"k":"\\ud800"}}}}', False),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[-0,8]}}', False),
        ('{"a":{"dtype":"F32","shape":[2,-0],"data_offsets":[0,0]}}', False),
        ('{"a":{"dtype":"F32","shape":[0,18446744073709551616],"data_offsets":[0,0]}}', False),
        ('{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', False),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":NaN}}', False),
        ('{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}', False),
        ('{"a":{"dtype":"F32","shape":[true,2],"data_offsets":[0,8]}}', False),
        ('{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,-8]}}', False),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}}', False),
        ('{"a":{"dtype":"F32","shape":[18446744073709551616,0],"data_offsets":[0,0]}}', False),
        ('{"a":{"dtype":"F32","shape":[4611686018427387904,8,0],"data_offsets":[0,0]}}', False),
        ('{"a":["F32",[2],[0,8]]}', False),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}', False),
        ('{"a":' + "[" * 100_000, False),
        ("[]", False),
        ("7", False),
        ("", False),
    ],
)
def test_odd_headers(tmp_path: Path, header: str, sound: bool) -> None:
    """What is refused here need not be refused by the library: it takes a name that occurs twice."""
    file = written(tmp_path, header.encode(), 8)
    assert (ours(file) is not None) is sound
    if sound:
        assert ours(file) == the_library_s(file)


def test_headers_that_would_take_much_memory(tmp_path: Path) -> None:
    """Of all files together, and none of them is parsed before."""
    files = [tmp_path / f"{number}.safetensors" for number in range(2)]
    for number, file in enumerate(files):
        header = json.dumps({f"w{number}": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
        length = MAX_HEADER_BYTES // 2
        file.write_bytes(length.to_bytes(8, "little") + header.ljust(length) + b"0")
    assert list(read_tensors(files)) == ["w0", "w1"]
    with files[1].open("r+b") as stream:
        stream.write((MAX_HEADER_BYTES // 2 + 1).to_bytes(8, "little"))
        os.truncate(files[1], MAX_HEADER_BYTES)
    with pytest.raises(Refusal, match="headers of the weights take more than 64 MiB; store") as refused:
        read_tensors(files)
    assert refused.value.code is ErrorCode.model_too_large


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    """Else the file that is read last decides here, and another one may decide in the engine."""
    save_file({"a": torch.zeros(2), "b": torch.ones(2)}, tmp_path / "1.safetensors")
    save_file({"a": torch.ones(2)}, tmp_path / "2.safetensors")
    files = [tmp_path / "1.safetensors", tmp_path / "2.safetensors"]
    with pytest.raises(Refusal, match=r"1\.safetensors and 2\.safetensors both hold the tensor a") as refused:
        read_tensors(files)
    assert refused.value.code is ErrorCode.weights_corrupt


def test_identical_means_every_byte_of_every_tensor(tmp_path: Path) -> None:
    one = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}
    save_file(one, tmp_path / "one.safetensors")
    for name, tensor in one.items():
        save_file({name: tensor}, tmp_path / f"part-{name}.safetensors")
    parts = [tmp_path / "part-a.safetensors", tmp_path / "part-b.safetensors"]
    one_file = read_tensors([tmp_path / "one.safetensors"])
    assert identical(one_file, read_tensors(parts))
    assert read_tensors(parts)["a"].shape == (2, 3)
    changed = one["a"].clone()
    changed[1, 2] += 1e-6
    save_file({"a": changed}, tmp_path / "part-a.safetensors")
    assert not identical(one_file, read_tensors(parts))
    save_file({"a": one["a"].reshape(3, 2)}, tmp_path / "part-a.safetensors")
    assert not identical(one_file, read_tensors(parts))
