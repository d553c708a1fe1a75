"""What can be refused at once, when the request comes in: before a job exists and without a tokenizer."""

from __future__ import annotations

from tokenforce.wire.scans import BUILT_IN_CONTEXTS, CustomContext, ErrorCode, Preset, ScanRequest, SettingsRecord
from tokenforce_core.plan.presets import settings_for
from tokenforce_core.scans.store import Store
from tokenforce_service.models import folder as uploads
from tokenforce_service.models import hub
from tokenforce_service.models.adapter import inspect_adapter, is_adapter
from tokenforce_service.models.base_name import named_base
from tokenforce_service.models.folder import Upload
from tokenforce_service.models.open import AUTO, NONE, Target, is_local, open_model, open_target
from tokenforce_service.planning.contexts import no_chat_template, unknown_context
from tokenforce_service.refusals import Refusal
from tokenforce_service.settings import ServiceSettings


def admit(request: ScanRequest, settings: ServiceSettings, store: Store) -> None:
    """Check a request and the folders that it names; what is on a hub is looked at later, by the planner.

    Raises:
        Refusal: the request, the model folder or the reference cannot be used, or is on a hub where there is none.
    """
    check_request(request)
    for name in (request.model, request.reference):
        if name and hub.is_hub_id(name):
            hub.refuse_if_offline(name)
    if is_local(request.model):
        _admit_folder(request, settings, store)
    elif request.reference and is_local(request.reference):
        _check_architecture(open_model(request.reference, settings, "reference").upload, store)


def _admit_folder(request: ScanRequest, settings: ServiceSettings, store: Store) -> None:
    """The target is here. Its base or reference is too, or is on a hub: then the target is checked alone."""
    path = uploads.resolve(request.model, settings.model_roots)
    adapter = inspect_adapter(path, settings.model_roots) if is_adapter(path) else None
    other = request.reference
    if adapter is not None and other in (None, AUTO, NONE):
        other = adapter.base
    elif other == AUTO:
        uploads.check_files(path, settings.model_roots)  # before a linked model card is read
        other = next(iter(named_base(path, request.model) or ()), None)
    if other is None or not hub.is_hub_id(other):
        check_target(request, open_target(request, settings), store)
        return
    hub.refuse_if_offline(other)
    if adapter is None:
        check_upload(request, uploads.inspect(path, settings.model_roots, settings.max_model_gib * 2**30), store)


def _known_here(reference: str) -> bool:
    return is_local(reference) or reference in (AUTO, NONE)


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
    for name in (request.model, request.reference):
        if name and not _known_here(name) and not hub.is_hub_id(name):
            raise hub.not_a_model(name)
    if request.model in (AUTO, NONE):
        raise hub.not_a_model(request.model)


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
