"""From an event that a hook accepted to a scan, by the policy of the hook.

The id of the scan is made from the hook and from what was uploaded, so an event that arrives twice, or at two gateways
at once, starts one scan: `start_scan` with an id that exists changes nothing. After a scan that failed or was cancelled
the next event gets another id, because its sender wants the upload scanned again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from tokenforce.wire.keys import KeyLimits
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce.wire.upload_hooks import HookAction, HookAnswer, HookPolicy
from tokenforce_core.scans.origin import HookOrigin
from tokenforce_core.scans.store import Store
from tokenforce_service.access.callers import Caller
from tokenforce_service.scans.start import start_scan
from tokenforce_service.settings import ServiceSettings
from tokenforce_service.upload_hooks.store import StoredHook


@dataclass(frozen=True)
class Upload:
    """An upload, as an event describes it."""

    name: str
    """The model without its revision, which the patterns of the policy are matched against."""
    model: str
    """The model to scan, with its revision."""
    content: tuple[str, ...]
    """Distinguishes this upload from others with the same name."""
    metadata: dict[str, str] = field(default_factory=dict)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the shell patterns matches. Letter case does not count, because hubs ignore it too.

    Linear in the name for each `*`: the library compiles each to an atomic group (bpo-40480), which never backtracks
    into the one before.
    """
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def scan_request(model: str, policy: HookPolicy) -> ScanRequest:
    """The scan request of a policy."""
    return ScanRequest(
        model=model,
        preset=policy.preset,
        reference=policy.reference,
        depth=policy.depth,
        contexts=policy.contexts,
        priority=policy.priority,
    )


def scan_id_of(hook_id: str, content: Iterable[str]) -> str:
    """The same id for the same upload at the same hook, and for nothing else."""
    whole = hashlib.sha256()
    for part in (hook_id, *content):
        encoded = part.encode(errors="surrogatepass")
        whole.update(b"%d:%b" % (len(encoded), encoded))
    return f"scan_{whole.hexdigest()[:16]}"


def _scan_of(hook: StoredHook, upload: Upload, store: Store) -> tuple[str, bool]:
    """The id of the upload's scan, and whether that scan runs or has succeeded."""
    attempt, scan_id = 1, scan_id_of(hook.id, upload.content)
    while (status := store.status(scan_id)) in (ScanStatus.failed, ScanStatus.cancelled):
        attempt += 1
        scan_id = scan_id_of(hook.id, (*upload.content, f"attempt {attempt}"))
    return scan_id, status is not None


def ignored(hook: StoredHook, reason: str) -> HookAnswer:
    """The answer if there is nothing to scan."""
    return HookAnswer(hook_id=hook.id, action=HookAction.ignored, reason=reason)


def start(hook: StoredHook, limits: KeyLimits, upload: Upload, settings: ServiceSettings, store: Store) -> HookAnswer:
    """Scan the upload if the policy says so, unless a scan of it runs or has succeeded.

    Args:
        limits: those of the key that registered the hook.

    Raises:
        Refusal: `quota_exceeded`, `overloaded`, `store_unavailable`: the sender should try again.
    """
    if not matches(upload.name, hook.policy.repos):
        return ignored(hook, f"Not scanned: no pattern of the policy matches {upload.name[:200]}.")
    scan_id, known = _scan_of(hook, upload, store)
    caller = Caller(hook.owner, hook.key_id, frozenset(), limits)
    # Only the rules of the policy are kept: the request holds the rest.
    origin = HookOrigin(hook_id=hook.id, rules=hook.policy, metadata=upload.metadata)
    start_scan(scan_request(upload.model, hook.policy), scan_id, caller, settings, store, origin)
    path = f"/v1/scans/{scan_id}"
    return HookAnswer(
        hook_id=hook.id,
        action=HookAction.known if known else HookAction.started,
        reason=f"This upload of {upload.name[:200]} already has a scan." if known else f"Scanning {upload.model}.",
        scan_id=scan_id,
        links={"scan": path, "audit": f"{path}/audit"},
    )
