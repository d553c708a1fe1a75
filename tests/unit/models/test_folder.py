"""What a model folder's own files say about how it is to be loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.models.folder import read_folder
from tokenforce_service.models.model import Model, inspect_model
from tokenforce_service.refusals import Refusal


def upload(folder: Path, config: dict[str, Any], stored: str = "F32", width: int = 4) -> Model:
    """A folder with one tensor of eight values of the type `stored`, inspected."""
    (folder / "tokenizer.json").write_text("{}")
    (folder / "config.json").write_text(
        json.dumps({"architectures": ["LlamaForCausalLM"], "vocab_size": 100, **config})
    )
    header = json.dumps({"w": {"dtype": stored, "shape": [8], "data_offsets": [0, 8 * width]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8 * width))
    return inspect_model(read_folder(folder, [folder]), 2**30)


@pytest.mark.parametrize(
    ("stored", "width", "config", "dtype"),
    [
        ("F32", 4, {"torch_dtype": "float16"}, "float32"),
        ("F64", 8, {}, "float32"),
        ("BF16", 2, {"dtype": "float32"}, "bfloat16"),
        ("F16", 2, {}, "float16"),
        ("I32", 4, {"torch_dtype": "float16"}, "float16"),
        ("I32", 4, {"dtype": "float32", "torch_dtype": "float16"}, "float32"),
        ("F8_E4M3", 1, {"dtype": "bfloat16"}, "bfloat16"),
        ("F8_E4M3", 1, {"text_config": {"vocab_size": 100, "dtype": "float16"}, "dtype": "float32"}, "float16"),
        ("U8", 1, {"dtype": "int4", "torch_dtype": ["float16"]}, "bfloat16"),
        ("I8", 1, {}, "bfloat16"),
    ],
)
def test_the_type_to_compute_in(tmp_path: Path, stored: str, width: int, config: dict[str, Any], dtype: str) -> None:
    found = upload(tmp_path, config, stored, width)
    assert (found.dtype, found.parameters) == (dtype, 8)


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({"max_position_embeddings": 512}, 512),
        ({"n_positions": 1024, "n_ctx": 1024}, 1024),
        ({"n_ctx": 256}, 256),
        ({"seq_length": 128}, 128),
        ({"max_seq_len": 2048}, 2048),
        ({"max_sequence_length": 64}, 64),
        ({"max_position_embeddings": 8192, "max_seq_len": 2048}, 2048),
        ({"text_config": {"vocab_size": 100, "n_positions": 32}, "max_position_embeddings": 512}, 32),
        ({"text_config": {"vocab_size": 100}, "max_position_embeddings": 512}, 512),
        ({"max_position_embeddings": True, "n_ctx": "long", "n_positions": -1}, None),
        ({}, None),
    ],
)
def test_the_longest_sequence(tmp_path: Path, config: dict[str, Any], positions: int | None) -> None:
    assert upload(tmp_path, config).max_positions == positions


@pytest.mark.parametrize(
    ("name", "mebibytes"),
    [("config.json", 4), ("tokenizer_config.json", 16), ("model.safetensors.index.json", 32), ("tokenizer.json", 128)],
)
def test_files_that_would_take_much_memory(tmp_path: Path, name: str, mebibytes: int) -> None:
    upload(tmp_path, {})
    os.truncate(tmp_path / name, 0) if (tmp_path / name).exists() else (tmp_path / name).touch()
    os.truncate(tmp_path / name, (mebibytes << 20) + 1)
    with pytest.raises(Refusal, match=f"^{name} is larger than {mebibytes} MiB; upload a smaller one") as refused:
        inspect_model(read_folder(tmp_path, [tmp_path]), 2**30)
    assert refused.value.code is ErrorCode.model_invalid
