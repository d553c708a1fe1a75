"""What of a model folder is hashed, and that different folders have different digests."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tokenforce_core.model_files import digest_of, hashed_of


def test_what_decides_a_scan_is_hashed_and_what_an_engine_could_load_is_listed(tmp_path: Path) -> None:
    for name in ("model.safetensors", "extra.safetensors", "config.json", "tokenizer.json", "README.md"):
        (tmp_path / name).write_text(name)
    hashed = hashed_of(tmp_path, [tmp_path / "model.safetensors"])
    assert [file.name for file in hashed.files] == ["config.json", "model.safetensors", "tokenizer.json"]
    assert hashed.listed == ("config.json", "extra.safetensors", "model.safetensors", "tokenizer.json")
    assert hashed.digest == digest_of(hashed.files)
    (tmp_path / "README.md").write_text("another card")
    assert hashed_of(tmp_path, [tmp_path / "model.safetensors"]) == hashed
    (tmp_path / "tokenizer.json").write_text("another tokenizer")
    assert hashed_of(tmp_path, [tmp_path / "model.safetensors"]).digest != hashed.digest


def test_a_line_break_in_a_name_makes_no_equal_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"what the other folder lacks")
    (tmp_path / "b").write_bytes(b"the same")
    lacking = hashlib.sha256(b"what the other folder lacks").hexdigest()
    (tmp_path / f"a:{lacking}\nb").write_bytes(b"the same")
    assert digest_of([tmp_path / "a", tmp_path / "b"]) != digest_of([tmp_path / f"a:{lacking}\nb"])
