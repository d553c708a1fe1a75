"""Takes a scan in: whatever starts one, a route or a hook, goes through here."""

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


def take_in(
    request: ScanRequest,
    scan_id: str,
    caller: Caller,
    settings: ServiceSettings,
    store: Store,
    origin: HookOrigin | None = None,
) -> None:
    """Check a request, count it and queue its scan. Twice with one id is one scan: an interrupted start is completed.

    What a hook starts (`origin`) is checked by the planner alone: whoever uploaded a model that cannot be scanned does
    not read the hook's answer, and the scan that fails is told by a callback.

    Raises:
        Refusal: `scope_missing`, `overloaded`, `quota_exceeded`, or whatever `admit` finds.
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
            store.create(scan_id, request, caller.owner, job_context.origin(), origin)
        elif store.status(scan_id) is None:
            # Claimed, and not stored: another request is between the two, or died there and the reaper comes.
            raise Refusal(ErrorCode.store_unavailable, f"The scan {scan_id} is being stored just now; try again.")
    start_planning(store, scan_id, first=urgent)
