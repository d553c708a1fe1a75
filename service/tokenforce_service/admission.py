"""What can be refused at once, when the request comes in: before a job exists and without a tokenizer."""

from __future__ import annotations

from tokenforce.types import BUILT_IN_CONTEXTS, CustomContext, ErrorCode, Preset, ScanRequest, SettingsRecord
from tokenforce_core.presets import settings_for
from tokenforce_core.store import Store
from tokenforce_service import hub, uploads
from tokenforce_service.contexts import no_chat_template, unknown_context
from tokenforce_service.refusals import Refusal
from tokenforce_service.settings import ServiceSettings
from tokenforce_service.uploads import Upload


def admit(request: ScanRequest, settings: ServiceSettings, store: Store) -> None:
    """Check a request; hub models are looked at later, by the planner.

    Raises:
        Refusal: the request or the model folder cannot be scanned.
    """
    check_request(request)
    if not is_local(request.model):
        return
    upload = local_upload(request.model, settings)
    check_upload(request, upload, store)


def check_request(request: ScanRequest) -> None:
    """Names that exist, contexts that differ."""
    if request.preset not in list(Preset):
        raise Refusal(ErrorCode.unknown_preset, f"There is no preset {request.preset!r}; use {' or '.join(Preset)}.")
    names = [item.name if isinstance(item, CustomContext) else item for item in request.contexts or []]
    for item in request.contexts or []:
        if isinstance(item, str) and item not in BUILT_IN_CONTEXTS:
            raise unknown_context(item)
    if len(set(names)) != len(names):
        raise Refusal(ErrorCode.invalid_request, "Two contexts have the same name; rename one.")
    if not is_local(request.model) and not hub.is_hub_id(request.model):
        raise hub.not_a_model(request.model)


def is_local(model: str) -> bool:
    """Folders are named by absolute paths; anything else is a hub id."""
    return model.startswith("/")


def local_upload(model: str, settings: ServiceSettings) -> Upload:
    """A local model folder, checked."""
    path = uploads.resolve(model, settings.model_roots)
    return uploads.inspect(path, settings.model_roots, settings.max_model_gib * 2**30)


def check_upload(request: ScanRequest, upload: Upload, store: Store) -> None:
    """Whether this upload can be scanned as requested, as far as its files tell."""
    if store.supports(upload.architecture) is False:
        raise Refusal(
            ErrorCode.unsupported_architecture,
            f"No engine of this service can load the architecture {upload.architecture[:100]}; "
            "choose a model of another one, or add a worker that can.",
        )
    for item in request.contexts or []:
        if item in ("assistant", "assistant_system") and not upload.has_chat_template:
            raise no_chat_template(str(item))
    check_lengths(settings_for(request), upload.max_positions, 1)


def check_lengths(settings: SettingsRecord, max_positions: int | None, context_length: int) -> None:
    """α and β must fit behind the context and the forced token.

    Raises:
        Refusal: `length_exceeds_model`.
    """
    if max_positions is None:
        return
    room = max_positions - context_length - 1
    for name, value in (("alpha", settings.alpha), ("beta", settings.beta)):
        if value > room:
            raise Refusal(
                ErrorCode.length_exceeds_model,
                f"{name} = {value} does not fit: the model takes {max_positions} tokens, "
                f"which leaves {room} behind the context; lower {name}.",
            )
