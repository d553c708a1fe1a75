"""Whether a target can be scanned as requested, by what its files say."""

from __future__ import annotations

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import BUILT_IN_CONTEXTS, ScanRequest
from tokenforce.wire.settings import SettingsRecord
from tokenforce_core.plan.presets import settings_for
from tokenforce_core.queues.workers import supports
from tokenforce_core.scans.store import Store
from tokenforce_service.models.model import Model
from tokenforce_service.models.open import OnHub, Opened, Target
from tokenforce_service.refusals import Refusal


def unknown_context(name: str) -> Refusal:
    return Refusal(
        ErrorCode.unknown_context,
        f"There is no context {name!r}; use {', '.join(BUILT_IN_CONTEXTS)}, or define one with text or ids.",
    )


def no_chat_template(name: str) -> Refusal:
    return Refusal(
        ErrorCode.no_chat_template,
        f"The context {name!r} needs a chat template, and the model has none; use the context `bos` or a text.",
    )


def check_target(request: ScanRequest, target: Target[Opened | OnHub], store: Store) -> None:
    """Whether a target can be scanned as requested, by the files that are on this machine.

    Raises:
        Refusal: `unsupported_architecture`, `no_chat_template`, `length_exceeds_model`.
    """
    if isinstance(target.loaded, Opened):
        model, adapter = target.loaded.model, target.adapter
        _check_architecture(model, store)
        folders = [model.folder]
        if adapter is not None and adapter.folder.has_tokenizer:
            folders.append(adapter.folder)
        for item in request.contexts or []:
            if item in ("assistant", "assistant_system") and not any(folder.has_chat_template for folder in folders):
                raise no_chat_template(str(item))
        check_lengths(settings_for(request), model.max_positions, 1)
    if isinstance(target.reference, Opened):
        _check_architecture(target.reference.model, store)


def _check_architecture(model: Model, store: Store) -> None:
    if supports(store.connection, model.architecture) is False:
        raise Refusal(
            ErrorCode.unsupported_architecture,
            f"No engine of this service can load the architecture {model.architecture[:100]}; "
            "choose a model with another architecture, or add a worker that supports it.",
        )


TOKENS_BESIDE_TEXT = 2
"""Tokens after a context beside a text: the forced token, and one because the engine computes log-probabilities only of
prompts that are shorter than its longest sequence."""


def check_lengths(settings: SettingsRecord, max_positions: int | None, context_length: int) -> None:
    """Check that α and β fit after the context and the forced token.

    Raises:
        Refusal: `length_exceeds_model`.
    """
    if max_positions is None:
        return
    room = max_positions - context_length - TOKENS_BESIDE_TEXT
    for name, value in (("alpha", settings.alpha), ("beta", settings.beta)):
        if value > room:
            raise Refusal(
                ErrorCode.length_exceeds_model,
                f"{name} = {value} does not fit: the model takes {max_positions} tokens, "
                f"which leaves {room} after the context; lower {name}.",
            )
