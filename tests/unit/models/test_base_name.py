"""What the front matter of a model card may say about the base, and what it may not do to the service."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.models.base_name import MAX_CARD_BYTES, named_base
from tokenforce_service.models.folder import read_folder
from tokenforce_service.refusals import Refusal


def named(folder: Path, card: str) -> tuple[str, str] | None:
    (folder / "README.md").write_text(card, newline="")
    (folder / "config.json").write_text("{}")
    return named_base(read_folder(folder, [folder]), "org/itself")


@pytest.mark.parametrize(
    ("card", "name"),
    [
        ("---\nbase_model: org/x\n---\n", "org/x"),
        ("---\r\nbase_model: org/x\r\n---\r\n# Hello\r\n", "org/x"),
        ("\ufeff---\nbase_model: org/x\n---", "org/x"),
        ("---\nbase_model: [org/x, org/y]\n---\n", "org/x"),
        ("---\ndate: 2024-99-99\nwidget: !!python/object:os.system x\nbase_model: org/x\n---\n", "org/x"),
        ("---\n----: y\nbase_model: org/x\n---\n", "org/x"),
        ("---\nbase_model: org/x\n", None),
        ("# Hello\n---\nbase_model: org/x\n---\n", None),
        ("---\nbase_model: org/itself\n---\n", None),
        ("---\nbase_model: ~\n---\n", None),
        ("---\nbase_model: Null\n---\n", None),
        ("---\nbase_model: {a: b}\n---\n", None),
        ("---\n!!python/object:os.system x\n---\n", None),
    ],
)
def test_the_base_in_the_front_matter(tmp_path: Path, card: str, name: str | None) -> None:
    assert named(tmp_path, card) == (None if name is None else (name, "model_card"))


@pytest.mark.parametrize(
    "block",
    [
        "base_model: [",
        "\0",
        "a: &a [x, x]\nb: &b [*a, *a]\nbase_model: org/x",
        "base_model: &a [*a]",
        "[" * 10_000,
        r'base_model: "\UFFFFFFFF"',
        r'base_model: "\U00110000"',
    ],
    ids=["half", "null", "aliases", "itself", "deep", "too large a character", "no character"],
)
def test_a_hostile_model_card_is_refused(tmp_path: Path, block: str) -> None:
    with pytest.raises(Refusal, match=r"README\.md is not YAML without aliases") as refused:
        named(tmp_path, f"---\n{block}\n---\n")
    assert refused.value.code is ErrorCode.model_invalid


def test_only_the_beginning_of_a_long_card_is_read(tmp_path: Path) -> None:
    assert named(tmp_path, "---\nbase_model: org/x\n---\n" + "word " * MAX_CARD_BYTES) == ("org/x", "model_card")
    with pytest.raises(Refusal, match="does not end within 64 KiB"):
        named(tmp_path, "---\n" + "# word\n" * MAX_CARD_BYTES + "base_model: org/x\n---\n")
