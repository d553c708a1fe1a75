"""tokenforce: finds texts hidden in the weights of a language model. This package is its SDK and its command line.

with Client("http://127.0.0.1:8000") as client:
    scan = client.scans.create(model="org/model")
    client.scans.wait(scan.id, on_progress=print)
    for finding in client.scans.findings(scan.id):
        print(finding.rank, finding.mean_probability, finding.text)
"""

from __future__ import annotations

from tokenforce.sdk.client import AsyncClient, Client
from tokenforce.sdk.errors import (
    ApiError,
    Conflict,
    ConnectionFailed,
    InvalidRequest,
    NotAuthenticated,
    NotConfigured,
    NotFound,
    NothingToVerify,
    NotPermitted,
    RateLimited,
    Refused,
    ScanCancelled,
    ScanFailed,
    ServerError,
    ServiceUnavailable,
    TokenforceError,
    UnexpectedAnswer,
    WaitTimeout,
    WebhookVerificationError,
)
from tokenforce.sdk.verify_report import Verification
from tokenforce.sdk.verify_webhook import verify_webhook
from tokenforce.sdk.version import __version__
from tokenforce.wire.audits import AuditAnswer, AuditRules, Decision, Ground
from tokenforce.wire.events import EventKind, ScanEvent
from tokenforce.wire.findings import Finding, LicenceMatch, Verdict
from tokenforce.wire.fingerprints import Fingerprint, FingerprintRequest, TextHash
from tokenforce.wire.keys import Key, NewKey, Scope
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.report import Report
from tokenforce.wire.scans import CustomContext, Depth, Order, Preset, Priority, Progress, Scan, ScanRequest, ScanStatus
from tokenforce.wire.stats import Stats
from tokenforce.wire.upload_hooks import Hook, HookAction, HookAnswer, HookKind, HookPolicy, HookSecret
from tokenforce.wire.webhooks import (
    Delivery,
    DeliveryStatus,
    EventType,
    ScanOutcome,
    Webhook,
    WebhookEvent,
    WebhookSecret,
)

__all__ = [
    "ApiError",
    "AsyncClient",
    "AuditAnswer",
    "AuditRules",
    "Client",
    "Conflict",
    "ConnectionFailed",
    "CustomContext",
    "Decision",
    "Delivery",
    "DeliveryStatus",
    "Depth",
    "ErrorCode",
    "EventKind",
    "EventType",
    "Finding",
    "Fingerprint",
    "FingerprintRequest",
    "Ground",
    "Hook",
    "HookAction",
    "HookAnswer",
    "HookKind",
    "HookPolicy",
    "HookSecret",
    "InvalidRequest",
    "Key",
    "LicenceMatch",
    "NewKey",
    "NotAuthenticated",
    "NotConfigured",
    "NotFound",
    "NotPermitted",
    "NothingToVerify",
    "Order",
    "Preset",
    "Priority",
    "Progress",
    "RateLimited",
    "Refused",
    "Report",
    "Scan",
    "ScanCancelled",
    "ScanEvent",
    "ScanFailed",
    "ScanOutcome",
    "ScanRequest",
    "ScanStatus",
    "Scope",
    "ServerError",
    "ServiceUnavailable",
    "Stats",
    "TextHash",
    "TokenforceError",
    "UnexpectedAnswer",
    "Verdict",
    "Verification",
    "WaitTimeout",
    "Webhook",
    "WebhookEvent",
    "WebhookSecret",
    "WebhookVerificationError",
    "__version__",
    "verify_webhook",
]
