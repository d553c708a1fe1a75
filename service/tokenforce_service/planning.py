"""From a request to a plan: check the upload, build the contexts, decide what is forced."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from tokenforce.types import ErrorCode, ScanRequest, SkippedIds, TargetRecord
from tokenforce_core.contract import model_queue
from tokenforce_core.plan import Plan
from tokenforce_core.presets import default_contexts, settings_for
from tokenforce_core.vocabulary import skip
from tokenforce_service.admission import check_lengths
from tokenforce_service.contexts import build_context
from tokenforce_service.refusals import Refusal
from tokenforce_service.settings import ServiceSettings
from tokenforce_service.time_limit import time_limit
from tokenforce_service.uploads import Upload, read_json

DIGESTED = ("config.json", "generation_config.json", "tokenizer*", "vocab*", "merges.txt", "chat_template*")
TOKENIZER_SECONDS = 60.0
"""For a tokenizer of 262k entries it takes a few seconds; a hostile template would take for ever."""


def make_plan(request: ScanRequest, upload: Upload, revision: str | None, settings: ServiceSettings) -> Plan:
    """The plan of a scan on a checked upload. Runs the target's tokenizer and chat template (sandboxed Jinja).

    Raises:
        Refusal: the tokenizer cannot be loaded, a context cannot be built, or α or β do not fit.
    """
    scan_settings = settings_for(request)
    with time_limit(TOKENIZER_SECONDS, "The tokenizer and the chat template"):
        tokenizer = _load_tokenizer(upload)
        wanted = request.contexts or default_contexts(scan_settings.preset, bool(tokenizer.chat_template))
        contexts = [build_context(item, tokenizer, upload.vocabulary_size) for item in wanted]
        end_ids, skipped = _special_ids(tokenizer, upload)
    longest = max(len(context.ids) for context in contexts)
    check_lengths(scan_settings, upload.max_positions, longest)
    digest = digest_of([*upload.weights, *_described_by(upload.path)])
    target = TargetRecord(
        model=request.model,
        revision=revision,
        digest=digest,
        architecture=upload.architecture,
        dtype=upload.dtype,
        parameters=upload.parameters,
        vocabulary_size=upload.vocabulary_size,
        max_positions=upload.max_positions,
    )
    return Plan(
        target=target,
        path=str(upload.path),
        settings=scan_settings,
        contexts=contexts,
        skipped=skipped,
        end_ids=end_ids,
        shard_size=settings.shard_size,
        max_length=longest + 1 + max(scan_settings.alpha, scan_settings.beta),
        queue=model_queue(digest, upload.dtype),
    )


def digest_of(files: Iterable[Path]) -> str:
    """SHA-256 over the files' names and SHA-256, in the order of names."""
    whole = hashlib.sha256()
    for file in sorted(files):
        with file.open("rb") as stream:
            whole.update(f"{file.name}:{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def _described_by(path: Path) -> list[Path]:
    """The files beside the weights that decide what a scan sees."""
    return [file for name in DIGESTED for file in sorted(path.glob(name)) if file.is_file()]


def _load_tokenizer(upload: Upload) -> Any:
    try:
        return AutoTokenizer.from_pretrained(upload.path, local_files_only=True, trust_remote_code=False)
    # Hostile or broken tokenizer files end in almost any exception; all of them mean the same to the user.
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise Refusal(
            ErrorCode.model_invalid, f"The tokenizer cannot be loaded ({reason}); upload it again."
        ) from error


def _special_ids(tokenizer: Any, upload: Upload) -> tuple[list[int], list[SkippedIds]]:
    """Ids that end a continuation, and ids that are not forced with the reason."""
    size = upload.vocabulary_size
    special = set(tokenizer.all_special_ids)
    special |= {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    special = {i for i in special if 0 <= i < size}
    known = max(tokenizer.get_vocab().values(), default=-1) + 1  # not len(): ids may have gaps
    unused = {i for i in range(min(known, size)) if tokenizer.convert_ids_to_tokens(i) is None}
    groups = [
        skip("special token", special),
        skip("padding of the embedding matrix, beyond the tokenizer", set(range(known, size)) - special),
        skip("id without a token", unused - special),
    ]
    # The config's end-of-text ids stand in only where the tokenizer has none, and are forced all the same:
    # an upload that lists half its vocabulary there would otherwise hide it.
    ends = special if tokenizer.eos_token_id is not None else special | _configured_ends(upload.path, size)
    return sorted(ends), [group for group in groups if group.ranges]


def _configured_ends(path: Path, size: int) -> set[int]:
    """End-of-text ids that config.json names."""
    value = read_json(path / "config.json").get("eos_token_id")
    return {i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int) and 0 <= i < size}
