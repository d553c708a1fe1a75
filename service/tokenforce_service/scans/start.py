"""Starts scans, for the route and for upload hooks alike."""

from __future__ import annotations

from tokenforce.wire.keys import Scope
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import Priority, ScanRequest
from tokenforce_core.queues import job_context
from tokenforce_core.scans.origin import HookOrigin
from tokenforce_core.scans.stages import start_planning
from tokenforce_core.scans.store import Store
from tokenforce_service.access.callers import Caller
from tokenforce_service.access.quotas import Quotas
from tokenforce_service.refusals import Refusal
from tokenforce_service.scans.admission import admit
from tokenforce_service.settings import ServiceSettings


def start_scan(
    request: ScanRequest,
    scan_id: str,
    caller: Caller,
    settings: ServiceSettings,
    store: Store,
    origin: HookOrigin | None = None,
) -> None:
    """Check a request, count it and queue its scan. A second call with the same id completes an interrupted start.

    Only the planner checks what a hook starts (`origin`): the uploader of a model that cannot be scanned does not read
    the hook's answer, and a scan that fails emits a webhook.

    Raises:
        Refusal: `scope_missing`, `overloaded`, `quota_exceeded`, or what `admit` finds.
    """
    urgent = request.priority is Priority.high
    if urgent and not caller.may(Scope.admin):
        raise Refusal(ErrorCode.scope_missing, "Priority `high` needs a key with the scope admin; use `normal`.")
    if store.status(scan_id) is None:
        quotas = Quotas(store.connection, settings)
        quotas.refuse_if_overloaded()
        if origin is None:
            admit(request, settings, store)
        if quotas.claim(scan_id, caller.key_id, caller.limits):
            store.create(scan_id, request, caller.owner, job_context.request_fields(), origin)
        elif store.status(scan_id) is None:
            # Claimed and not stored: another request is about to store it, or died and the reaper will clean up.
            raise Refusal(ErrorCode.store_unavailable, f"Another request is storing the scan {scan_id}; try again.")
    start_planning(store, scan_id, first=urgent)
