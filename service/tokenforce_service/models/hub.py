"""Models from a Hugging Face hub: resolve the revision, check the list of files, download safetensors only."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import filter_repo_objects, validate_repo_id  # type: ignore[attr-defined]

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.models.tensors import no_weights
from tokenforce_service.refusals import Refusal

HUB_ID = re.compile(r"(?P<repo>[\w][\w.-]*/[\w][\w.-]*)(@(?P<revision>[\w][\w./-]*))?", re.ASCII)
PATTERNS = [
    "*.safetensors",
    "*.json",
    "tokenizer*",
    "*.model",
    "merges.txt",
    "vocab.txt",
    "chat_template.jinja",
    "README.md",
]
"""Files that are downloaded. The model card may name the reference."""
MAX_OTHER_BYTES = 512 << 20
"""Of all files of `PATTERNS` except the weights."""
TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Snapshot:
    """A downloaded revision."""

    path: Path
    revision: str


def is_hub_id(model: str) -> bool:
    match = HUB_ID.fullmatch(model)
    if match is None:
        return False
    try:
        validate_repo_id(match["repo"])
    except HFValidationError:
        return False
    return True


def not_a_model(model: str) -> Refusal:
    return Refusal(
        ErrorCode.model_not_found,
        f"{model!r} is not a model; give the absolute path of a folder or a hub id (org/name[@revision]).",
    )


def refuse_if_offline(name: str) -> None:
    """Where the service works without a hub, a hub id is refused as soon as it is seen. Other names pass.

    Raises:
        Refusal: `hub_unreachable`, with the status 422, because a later attempt would not help.
    """
    if constants.HF_HUB_OFFLINE and is_hub_id(name):
        raise Refusal(
            ErrorCode.hub_unreachable,
            f"{name} is a hub id, and this service works without a hub; give a local folder, or start the service "
            "without HF_HUB_OFFLINE.",
            status=422,
        )


def download(model: str, cache_dir: Path, max_bytes: float) -> Snapshot:
    """Download `org/name[@revision]`, pinned to a commit.

    Raises:
        Refusal: `hub_unreachable`, `model_not_found`, `pickle_weights`, `weights_missing`,
            `model_too_large`, `storage_full`, `internal_error` (the cache cannot be written).
    """
    match = HUB_ID.fullmatch(model)
    if match is None:
        raise not_a_model(model)
    refuse_if_offline(model)
    repo, revision = match["repo"], match["revision"]
    try:
        info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS)
        files = {file.rfilename: file.size or 0 for file in info.siblings or []}
        _check_listing(repo, files, max_bytes)
        commit = info.sha or revision or "main"
        path = snapshot_download(repo, revision=commit, cache_dir=cache_dir, allow_patterns=PATTERNS)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise Refusal(
            ErrorCode.model_not_found,
            f"The hub has no {model}, or it is private; check the id and the token of the service.",
        ) from error
    except Refusal:
        raise
    # Any exception: releases of the hub client use different HTTP libraries, with exceptions of their own.
    except Exception as error:
        if isinstance(error, OSError):
            _refuse_local(error, model, cache_dir)
        raise Refusal(
            ErrorCode.hub_unreachable,
            f"The model hub cannot be reached for {model} ({type(error).__name__}); "
            "check the network or give a local folder.",
        ) from error
    return Snapshot(Path(path), commit)


def _refuse_local(error: OSError, model: str, cache_dir: Path) -> None:
    """Refuse errors of this machine. Connection errors are `OSError`s too, but name no file.

    Raises:
        Refusal: `storage_full`, `internal_error`.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise Refusal(
            ErrorCode.storage_full, f"The disk is too full for {model}; free some space in {cache_dir}."
        ) from error
    if error.errno is not None and (error.filename is not None or error.errno == errno.EIO):
        raise Refusal(
            ErrorCode.internal_error,
            f"{model} cannot be stored in {cache_dir} ({error.strerror}); check this folder and its disk.",
        ) from error


def _check_listing(repo: str, files: dict[str, int], max_bytes: float) -> None:
    weights = {name: size for name, size in files.items() if name.endswith(".safetensors")}
    if not weights:
        raise no_weights(repo, files)
    others = set(filter_repo_objects(files, allow_patterns=PATTERNS)) - set(weights)
    other_size = sum(files[name] for name in others)
    if other_size > MAX_OTHER_BYTES:
        raise Refusal(
            ErrorCode.model_too_large,
            f"{repo} has {other_size / 2**20:.0f} MiB of files beside its weights; "
            f"this service takes up to {MAX_OTHER_BYTES >> 20} MiB.",
        )
    size = sum(weights.values())
    if size > max_bytes:
        raise Refusal(
            ErrorCode.model_too_large,
            f"{repo} has {size / 2**30:.1f} GiB of weights; this service takes up to {max_bytes / 2**30:.1f} GiB.",
        )
