"""Whether a target can be scanned as requested, as far as its files tell."""

from __future__ import annotations

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import BUILT_IN_CONTEXTS, ScanRequest
from tokenforce.wire.settings import SettingsRecord
from tokenforce_core.plan.presets import settings_for
from tokenforce_core.scans.store import Store
from tokenforce_service.models.folder import Upload
from tokenforce_service.models.open import Target
from tokenforce_service.refusals import Refusal


def unknown_context(name: str) -> Refusal:
    return Refusal(
        ErrorCode.unknown_context,
        f"There is no context {name!r}; use {', '.join(BUILT_IN_CONTEXTS)} or one of your own with text or ids.",
    )


def no_chat_template(name: str) -> Refusal:
    return Refusal(
        ErrorCode.no_chat_template,
        f"The model has no chat template, which the context {name!r} needs; use the context `bos` or a text.",
    )


def check_target(request: ScanRequest, target: Target, store: Store) -> None:
    """Whether this target can be scanned as requested, as far as its files tell.

    Raises:
        Refusal: `unsupported_architecture`, `no_chat_template`, `length_exceeds_model`.
    """
    adapter = target.adapter
    own_template = adapter is not None and adapter.has_tokenizer and adapter.has_chat_template
    check_upload(request, target.loaded.upload, store, has_chat_template=own_template)
    if target.reference is not None:
        _check_architecture(target.reference.upload, store)


def check_upload(request: ScanRequest, upload: Upload, store: Store, *, has_chat_template: bool = False) -> None:
    """Whether this upload can be scanned as requested; `has_chat_template`: the adapter on it brings one."""
    _check_architecture(upload, store)
    for item in request.contexts or []:
        if item in ("assistant", "assistant_system") and not (upload.has_chat_template or has_chat_template):
            raise no_chat_template(str(item))
    check_lengths(settings_for(request), upload.max_positions, 1)


def _check_architecture(upload: Upload, store: Store) -> None:
    if store.supports(upload.architecture) is False:
        raise Refusal(
            ErrorCode.unsupported_architecture,
            f"No engine of this service can load the architecture {upload.architecture[:100]}; "
            "choose a model of another one, or add a worker that can.",
        )


BEHIND = 2
"""Tokens behind a context beside a text: the one that is forced, and one because the engine computes log-probabilities
of prompts that are shorter than its longest sequence only."""


def check_lengths(settings: SettingsRecord, max_positions: int | None, context_length: int) -> None:
    """α and β must fit behind the context and the forced token.

    Raises:
        Refusal: `length_exceeds_model`.
    """
    if max_positions is None:
        return
    room = max_positions - context_length - BEHIND
    for name, value in (("alpha", settings.alpha), ("beta", settings.beta)):
        if value > room:
            raise Refusal(
                ErrorCode.length_exceeds_model,
                f"{name} = {value} does not fit: the model takes {max_positions} tokens, "
                f"which leaves {room} behind the context; lower {name}.",
            )
