"""What can be refused at once, when the request comes in: before a job exists and without a tokenizer."""

from __future__ import annotations

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import BUILT_IN_CONTEXTS, CustomContext, Preset, ScanRequest
from tokenforce_core.scans.store import Store
from tokenforce_service.models import folder as uploads
from tokenforce_service.models import hub
from tokenforce_service.models.adapter import inspect_adapter, is_adapter
from tokenforce_service.models.base_name import named_base
from tokenforce_service.models.fit import (
    _check_architecture,
    check_target,
    check_upload,
    unknown_context,
)
from tokenforce_service.models.open import AUTO, NONE, is_local, open_model, open_target
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
