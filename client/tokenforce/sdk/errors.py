"""Every error that the SDK raises, and how an answer of the service becomes one of them.

    TokenforceError
    ├── NotConfigured                    no service address, or one that is not an http(s) address
    ├── ConnectionFailed                 nobody answered
    ├── ApiError                         the service said no: status, code, detail, request_id
    │   ├── InvalidRequest               4xx: the request itself is wrong
    │   ├── NotAuthenticated             401: no key, or one that is not valid (any more)
    │   ├── NotPermitted                 403: the key lacks the scope
    │   ├── NotFound                     404: no such scan
    │   ├── Conflict                     409: not in this state of the scan
    │   ├── Refused                      the model cannot be scanned; the code says why
    │   ├── ServiceUnavailable           408, 502, 503, 504, 507: later perhaps (retry_after)
    │   │   └── RateLimited              429: too many requests or scans for this key
    │   ├── ServerError                  5xx: a fault of the service
    │   └── UnexpectedAnswer             not an answer of a tokenforce service
    ├── ScanFailed                       the scan ended without a report: scan, code, detail
    ├── ScanCancelled                    somebody cancelled it: scan
    ├── WaitTimeout (also TimeoutError)  it still runs after the time you gave: scan
    └── WebhookVerificationError         a callback that is forged, changed or too old

The wire `code` decides the class; the HTTP status decides only for codes that this SDK does not know.
"""

from __future__ import annotations

from typing import Any

from tokenforce.wire.problems import ErrorCode, Problem
from tokenforce.wire.scans import Scan


class TokenforceError(Exception):
    """Base of all errors of the SDK."""


class NotConfigured(TokenforceError):
    """The SDK does not know which service to talk to."""


class ConnectionFailed(TokenforceError):
    """No answer from the service: not running, not reachable, or too slow."""


class ApiError(TokenforceError):
    """The service answered with a problem document."""

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        code: str,
        request_id: str | None = None,
        retry_after: float | None = None,
        errors: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        """One line that says what to do."""
        self.status = status
        """HTTP status."""
        self.code = code
        """Stable code, usually one of `ErrorCode`."""
        self.request_id = request_id
        """Quote it when you report a problem; the service's logs carry it."""
        self.retry_after = retry_after
        """Seconds after which the service asks to be tried again."""
        self.errors = errors or []
        """One entry per wrong field of the request."""


class InvalidRequest(ApiError):
    """The request is wrong; sending it again does not help."""


class NotAuthenticated(ApiError):
    """The service wants a key, or does not take this one: unknown, revoked or expired."""


class NotPermitted(ApiError):
    """The key is good, and lacks the scope that this call needs; or a hook's own key has ended."""


class NotFound(ApiError):
    """There is no such thing, or it belongs to somebody else."""


class Conflict(ApiError):
    """Not possible in the state that the scan is in."""


class Refused(ApiError):
    """The model cannot be scanned; `code` says why."""


class ServiceUnavailable(ApiError):
    """The service cannot take this now; see `retry_after`."""


class RateLimited(ServiceUnavailable):
    """Too many requests or open streams of this key, or its quota of scans is used up; see `retry_after`."""


class ServerError(ApiError):
    """A fault inside the service; its logs have it under `request_id`."""


class UnexpectedAnswer(ApiError):
    """What answered does not speak this API: a wrong address, a proxy, or another major version."""


class WebhookVerificationError(TokenforceError):
    """A callback that cannot be trusted: forged, changed on its way, or too old. Do not act on it; answer 400."""


class ScanEnded(TokenforceError):
    """Not raised itself: what the errors about one scan have in common."""

    def __init__(self, message: str, scan: Scan) -> None:
        super().__init__(message)
        self.scan = scan
        """The scan as it was last seen."""


class ScanFailed(ScanEnded):
    """The scan ended without a report."""

    def __init__(self, scan: Scan) -> None:
        self.code: str = scan.error.code if scan.error else ErrorCode.internal_error
        """Stable code of the reason."""
        self.detail: str = scan.error.detail if scan.error else "the scan failed, and the service does not say why"
        """One line that says what to do."""
        super().__init__(self.detail, scan)


class ScanCancelled(ScanEnded):
    """Somebody cancelled the scan."""

    def __init__(self, scan: Scan) -> None:
        super().__init__(f"scan {scan.id} was cancelled", scan)


class WaitTimeout(ScanEnded, TimeoutError):
    """The scan still runs after the time you gave. It goes on: wait again, or cancel it."""

    def __init__(self, scan: Scan, timeout: float) -> None:
        super().__init__(f"scan {scan.id} is still {scan.status} after {timeout:g} s", scan)


REFUSALS: frozenset[str] = frozenset(
    {
        ErrorCode.model_not_found,
        ErrorCode.path_not_allowed,
        ErrorCode.config_missing,
        ErrorCode.tokenizer_missing,
        ErrorCode.weights_missing,
        ErrorCode.pickle_weights,
        ErrorCode.remote_code,
        ErrorCode.weights_corrupt,
        ErrorCode.model_invalid,
        ErrorCode.model_too_large,
        ErrorCode.unsupported_architecture,
        ErrorCode.hub_unreachable,
        ErrorCode.reference_mismatch,
        ErrorCode.base_missing,
        ErrorCode.adapter_mismatch,
        ErrorCode.length_exceeds_model,
        ErrorCode.no_chat_template,
        ErrorCode.engine_failed,
        ErrorCode.deadline_exceeded,
    }
)
"""Codes that mean: we could not look into this model. Neither `clean` nor a fault of the caller's request."""

CLASS_OF_CODE: dict[str, type[ApiError]] = {
    **dict.fromkeys(REFUSALS, Refused),
    ErrorCode.invalid_request: InvalidRequest,
    ErrorCode.body_too_large: InvalidRequest,
    ErrorCode.body_too_slow: ServiceUnavailable,
    ErrorCode.method_not_allowed: InvalidRequest,
    ErrorCode.invalid_cursor: InvalidRequest,
    ErrorCode.unknown_context: InvalidRequest,
    ErrorCode.unknown_preset: InvalidRequest,
    ErrorCode.unauthenticated: NotAuthenticated,
    ErrorCode.scope_missing: NotPermitted,
    ErrorCode.key_not_found: NotFound,
    ErrorCode.not_found: NotFound,
    ErrorCode.scan_not_found: NotFound,
    ErrorCode.fingerprint_not_found: NotFound,
    ErrorCode.fingerprint_exists: Conflict,
    ErrorCode.fingerprint_limit: Conflict,
    ErrorCode.webhook_not_found: NotFound,
    ErrorCode.delivery_not_found: NotFound,
    ErrorCode.webhook_url_refused: InvalidRequest,
    ErrorCode.name_lookup_failed: ServiceUnavailable,
    ErrorCode.webhook_limit: Conflict,
    ErrorCode.webhook_disabled: Conflict,
    ErrorCode.delivery_pending: Conflict,
    ErrorCode.hook_not_found: NotFound,
    ErrorCode.hook_limit: Conflict,
    ErrorCode.hook_key_ended: NotPermitted,
    ErrorCode.hook_secret_unknown: NotAuthenticated,
    ErrorCode.hook_signature_invalid: NotAuthenticated,
    ErrorCode.hook_message_stale: NotAuthenticated,
    ErrorCode.hook_message_reused: Conflict,
    ErrorCode.scan_finished: Conflict,
    ErrorCode.report_not_ready: Conflict,
    ErrorCode.too_many_streams: RateLimited,
    ErrorCode.store_unavailable: ServiceUnavailable,
    ErrorCode.storage_full: ServiceUnavailable,
    ErrorCode.overloaded: ServiceUnavailable,
    ErrorCode.rate_limited: RateLimited,
    ErrorCode.quota_exceeded: RateLimited,
    ErrorCode.invalid_idempotency_key: InvalidRequest,
    ErrorCode.idempotency_key_reused: InvalidRequest,
    ErrorCode.idempotency_in_flight: Conflict,
    ErrorCode.already_created: Conflict,
    ErrorCode.internal_error: ServerError,
}

CLASS_OF_STATUS: dict[int, type[ApiError]] = {
    401: NotAuthenticated,
    403: NotPermitted,
    404: NotFound,
    409: Conflict,
    429: RateLimited,
    **dict.fromkeys((502, 503, 504, 507), ServiceUnavailable),
}


def error_from_problem(problem: Problem, *, retry_after: float | None = None) -> ApiError:
    """The typed error for a problem document."""
    kind = CLASS_OF_CODE.get(problem.code) or class_of_status(problem.status)
    return kind(
        problem.detail,
        status=problem.status,
        code=problem.code,
        request_id=problem.request_id,
        retry_after=retry_after,
        errors=problem.errors,
    )


def class_of_status(status: int) -> type[ApiError]:
    """The class of an error answer by its HTTP status alone."""
    if status in CLASS_OF_STATUS:
        return CLASS_OF_STATUS[status]
    if 400 <= status < 500:
        return InvalidRequest
    return ServerError if status >= 500 else UnexpectedAnswer
