"""From an event that a hook has taken to a scan, by the hook's policy.

The id of the scan is made from the hook and from what was uploaded, so that an event that arrives twice, or at two
gateways at once, is one scan: `take_in` with an id that exists changes nothing. After a scan that failed or was
cancelled the id is another one: whoever sends an event again then wants the upload scanned.
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
from tokenforce_service.scans.start import take_in
from tokenforce_service.settings import ServiceSettings
from tokenforce_service.upload_hooks.store import StoredHook


@dataclass(frozen=True)
class Upload:
    """What an event says was uploaded."""

    name: str
    """What the policy's patterns are matched with: the model without its revision."""
    model: str
    """What is scanned, with its revision."""
    content: tuple[str, ...]
    """What makes this upload another one than the last of the same name."""
    metadata: dict[str, str] = field(default_factory=dict)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a shell pattern fits; letter case does not count, as hubs resolve names of any case.

    Linear in the name for each `*`: the library compiles each to an atomic group (bpo-40480), which never backtracks
    into the one before.
    """
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def scan_request(model: str, policy: HookPolicy) -> ScanRequest:
    """The scan that a policy asks for."""
    return ScanRequest(
        model=model,
        preset=policy.preset,
        reference=policy.reference,
        contexts=policy.contexts,
        priority=policy.priority,
    )


def scan_id_of(hook_id: str, content: Iterable[str]) -> str:
    """The same for the same upload at the same hook, and for no other."""
    whole = hashlib.sha256()
    for part in (hook_id, *content):
        encoded = part.encode(errors="surrogatepass")
        whole.update(b"%d:%b" % (len(encoded), encoded))
    return f"scan_{whole.hexdigest()[:16]}"


def _scan_of(hook: StoredHook, upload: Upload, store: Store) -> tuple[str, bool]:
    """The id of the upload's scan, and whether there is one that runs or has succeeded."""
    attempt, scan_id = 1, scan_id_of(hook.id, upload.content)
    while (status := store.status(scan_id)) in (ScanStatus.failed, ScanStatus.cancelled):
        attempt += 1
        scan_id = scan_id_of(hook.id, (*upload.content, f"attempt {attempt}"))
    return scan_id, status is not None


def ignored(hook: StoredHook, reason: str) -> HookAnswer:
    """Nothing to scan, which is no error."""
    return HookAnswer(hook_id=hook.id, action=HookAction.ignored, reason=reason)


def start(hook: StoredHook, limits: KeyLimits, upload: Upload, settings: ServiceSettings, store: Store) -> HookAnswer:
    """Scan the upload, if the policy wants it and no scan of it runs or has succeeded.

    `limits`: those of the key that made the hook.

    Raises:
        Refusal: `quota_exceeded`, `overloaded`, `store_unavailable`: the sender should try again.
    """
    if not matches(upload.name, hook.policy.repos):
        return ignored(hook, f"Not scanned: no pattern of the policy matches {upload.name[:200]}.")
    scan_id, known = _scan_of(hook, upload, store)
    caller = Caller(hook.owner, hook.key_id, frozenset(), limits)
    # Of the policy, the rules are kept: the rest is in the request.
    origin = HookOrigin(hook_id=hook.id, rules=hook.policy, metadata=upload.metadata)
    take_in(scan_request(upload.model, hook.policy), scan_id, caller, settings, store, origin)
    path = f"/v1/scans/{scan_id}"
    return HookAnswer(
        hook_id=hook.id,
        action=HookAction.known if known else HookAction.started,
        reason=f"This upload of {upload.name[:200]} has a scan already." if known else f"{upload.model} is scanned.",
        scan_id=scan_id,
        links={"scan": path, "audit": f"{path}/audit"},
    )
