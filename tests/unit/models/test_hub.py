"""What of a hub repository is refused by its listing, before anything is downloaded."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.models import hub
from tokenforce_service.refusals import Refusal

GOOD = {"config.json": 1000, "model.safetensors": 2**30, "tokenizer.json": 10 << 20}


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The files of the only repository there is."""
    files = dict(GOOD)

    def model_info(*_: object, **__: object) -> SimpleNamespace:
        siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in files.items()]
        return SimpleNamespace(siblings=siblings, sha="0123abc")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "HfApi", lambda: SimpleNamespace(model_info=model_info))
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: "/downloaded")
    return files


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"more.safetensors": 2 << 30}, "org/name has 3.0 GiB of weights; this service takes up to 2.0 GiB."),
        ({"vocabulary.json": 600 << 20}, "org/name has 610 MiB of files beside its weights; this service takes up to"),
        ({"deep/a.json": 300 << 20, "tokenizer.model": 300 << 20}, "610 MiB of files beside its weights"),
    ],
)
def test_too_much_to_download(listing: dict[str, int], tmp_path: Path, more: dict[str, int], says: str) -> None:
    listing.update(more)
    with pytest.raises(Refusal) as refused:
        hub.download("org/name", tmp_path, 2 * 2**30)
    assert refused.value.code is ErrorCode.model_too_large
    assert says in refused.value.detail


def test_what_is_downloaded(listing: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokenizers of every kind, and the model card, which may name the reference."""
    wanted = [*GOOD, "README.md", "merges.txt", "vocab.txt", "vocab.json", "tokenizer.model", "chat_template.jinja"]
    patterns: list[str] = []

    def snapshot_download(*_: object, allow_patterns: list[str], **__: object) -> str:
        patterns.extend(allow_patterns)
        return "/downloaded"

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    hub.download("org/name", tmp_path, 2 * 2**30)
    names = [*wanted, "pytorch_model.bin", "run_me.py", "notes.txt"]
    assert list(filter_repo_objects(names, allow_patterns=patterns)) == wanted


@pytest.mark.usefixtures("listing")
def test_without_a_hub_nothing_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Refusal, match="works without a hub; give a local folder") as refused:
        hub.download("org/name", tmp_path, 2 * 2**30)
    assert (refused.value.code, refused.value.status) == (ErrorCode.hub_unreachable, 422)


def test_what_is_not_downloaded_does_not_count(listing: dict[str, int], tmp_path: Path) -> None:
    listing.update({"pytorch_model.bin": 500 << 30, "video.mp4": 1 << 40})
    assert hub.download("org/name", tmp_path, 2 * 2**30).revision == "0123abc"


@pytest.mark.usefixtures("listing")
@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), ErrorCode.hub_unreachable, "check the network"),
        (TimeoutError("timed out"), ErrorCode.hub_unreachable, "check the network"),
        (socket.gaierror(socket.EAI_AGAIN, "no name"), ErrorCode.hub_unreachable, "check the network"),
        (ssl.SSLError(1, "certificate"), ErrorCode.hub_unreachable, "check the network"),
        (OSError("any library's"), ErrorCode.hub_unreachable, "check the network"),
        (OSError(errno.ENOSPC, "full"), ErrorCode.storage_full, "free some space in"),
        (
            PermissionError(errno.EACCES, "no permission", "/cache/x"),
            ErrorCode.internal_error,
            "(no permission)",
        ),
        (OSError(errno.EROFS, "read-only", "/cache/x"), ErrorCode.internal_error, "(read-only); check this folder"),
        (OSError(errno.EIO, "disk"), ErrorCode.internal_error, "(disk); check this folder"),
    ],
    ids=repr,
)
def test_a_disk_that_fails_is_no_hub_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, code: ErrorCode, says: str
) -> None:
    def snapshot_download(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    with pytest.raises(Refusal) as refused:
        hub.download("org/name", tmp_path, 2 * 2**30)
    assert refused.value.code is code
    assert says in refused.value.detail
