"""What the gateway refuses at once: before a job exists, and without a tokenizer."""

from __future__ import annotations

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import BUILT_IN_CONTEXTS, CustomContext, Depth, Preset, ScanRequest
from tokenforce_core.scans.store import Store
from tokenforce_service.models import hub
from tokenforce_service.models.fit import check_target, unknown_context
from tokenforce_service.models.open import AUTO, NONE, is_local, open_target
from tokenforce_service.refusals import Refusal
from tokenforce_service.settings import ServiceSettings


def admit(request: ScanRequest, settings: ServiceSettings, store: Store) -> None:
    """Check a request and the folders that it names. The planner checks what is on a hub.

    Raises:
        Refusal: the request, the model or the reference cannot be used.
    """
    check_request(request)
    check_target(request, open_target(request, settings, reach_hub=False), store)


def check_request(request: ScanRequest) -> None:
    """Check the names in a request: preset, contexts, models.

    Raises:
        Refusal: `unknown_preset`, `unknown_context`, `invalid_request`, `model_not_found`.
    """
    if request.preset not in list(Preset):
        raise Refusal(ErrorCode.unknown_preset, f"There is no preset {request.preset!r}; use {' or '.join(Preset)}.")
    if request.depth is Depth.quick and (request.reference == NONE or request.preset == Preset.paper):
        why = "it compares weights: name a reference" if request.reference == NONE else "`paper` reads no weights"
        raise Refusal(ErrorCode.invalid_request, f"The depth quick cannot be used here, because {why}.")
    for context in request.drawn_contexts or []:
        if context.name in BUILT_IN_CONTEXTS:
            raise Refusal(
                ErrorCode.invalid_request, f"{context.name!r} names a built-in context; rename the drawn one."
            )
    named = (*(request.contexts or ()), *(request.drawn_contexts or ()))
    names = [item.name if isinstance(item, CustomContext) else item for item in named]
    for item in request.contexts or []:
        if isinstance(item, str) and item not in BUILT_IN_CONTEXTS:
            raise unknown_context(item)
    if len(set(names)) != len(names):
        raise Refusal(ErrorCode.invalid_request, "Two contexts have the same name; rename one.")
    for name in (request.model, request.reference):
        if name and not is_local(name) and name not in (AUTO, NONE) and not hub.is_hub_id(name):
            raise hub.not_a_model(name)
    if request.model in (AUTO, NONE):
        raise hub.not_a_model(request.model)
