"""Every error that the SDK raises, and how an error answer of the service becomes one of them.

    TokenforceError
    ├── NotConfigured                    no service address, or one that is not an http(s) address
    ├── ConnectionFailed                 no answer
    ├── ApiError                         an error answer: status, code, detail, request_id
    │   ├── InvalidRequest               4xx: the request itself is wrong
    │   ├── NotAuthenticated             401: no key, or one that is not valid
    │   ├── NotPermitted                 403: the key lacks the scope
    │   ├── NotFound                     404: no such thing, or it belongs to another owner
    │   ├── Conflict                     409: not possible in the current state
    │   ├── Refused                      the model cannot be scanned; the code says why
    │   ├── ServiceUnavailable           408, 502, 503, 504, 507: perhaps later (retry_after)
    │   │   └── RateLimited              429: too many requests or scans for this key
    │   ├── ServerError                  5xx: an internal error of the service
    │   └── UnexpectedAnswer             not an answer of a tokenforce service
    ├── ScanFailed                       the scan ended without a report: scan, code, detail
    ├── ScanCancelled                    the scan was cancelled: scan
    ├── WaitTimeout (also TimeoutError)  the scan still runs after the time that you gave: scan
    ├── NothingToVerify                  the report has no finding to repeat
    └── WebhookVerificationError         a webhook delivery that is forged, changed or too old

The `code` of the answer decides the class (the table is `ErrorCode`). The HTTP status decides for codes that this SDK
does not know.
"""

from __future__ import annotations

from typing import Any

from tokenforce.wire.problems import ErrorCode, Problem
from tokenforce.wire.scans import Scan


class TokenforceError(Exception):
    """Base class of all errors of the SDK."""


class NotConfigured(TokenforceError):
    """The SDK has no usable address or key."""


class ConnectionFailed(TokenforceError):
    """No answer: the service does not run, cannot be reached, or is too slow."""


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
        """What is wrong and what to do, in one line."""
        self.status = status
        """HTTP status."""
        self.code = code
        """Stable code, usually one of `ErrorCode`."""
        self.request_id = request_id
        """Id of the request. The service's logs contain it; quote it when you report a problem."""
        self.retry_after = retry_after
        """Seconds after which to try again, if the service names them."""
        self.errors = errors or []
        """One entry per wrong field of the request."""


class InvalidRequest(ApiError):
    """The request is wrong. Sending it again does not help."""


class NotAuthenticated(ApiError):
    """There is no key, or it is not valid: unknown, revoked or expired."""


class NotPermitted(ApiError):
    """The key is valid, but lacks the scope for this call; or the key that made an upload hook has ended."""


class NotFound(ApiError):
    """There is no such thing, or it belongs to another owner."""


class Conflict(ApiError):
    """Not possible in the current state."""


class Refused(ApiError):
    """The model cannot be scanned; `code` says why."""


class ServiceUnavailable(ApiError):
    """The service cannot do this now; see `retry_after`."""


class RateLimited(ServiceUnavailable):
    """Too many requests, open streams or scans for this key; see `retry_after`."""


class ServerError(ApiError):
    """An internal error of the service. Its logs contain it under `request_id`."""


class UnexpectedAnswer(ApiError):
    """The answer is not from this API: a wrong address, a proxy, or another major version."""


class NothingToVerify(TokenforceError):
    """The report has no finding to repeat."""


class WebhookVerificationError(TokenforceError):
    """You cannot trust this webhook delivery: it is forged, changed or too old. Ignore it and answer 400."""


class ScanEnded(TokenforceError):
    """Common part of the errors about one scan. Never raised itself."""

    def __init__(self, message: str, scan: Scan) -> None:
        super().__init__(message)
        self.scan = scan
        """The scan at the last look."""


class ScanFailed(ScanEnded):
    """The scan ended without a report."""

    def __init__(self, scan: Scan) -> None:
        self.code: str = scan.error.code if scan.error else ErrorCode.internal_error
        """Stable code of the reason."""
        self.detail: str = scan.error.detail if scan.error else "the scan failed; the service gives no reason"
        """What is wrong and what to do, in one line."""
        super().__init__(self.detail, scan)


class ScanCancelled(ScanEnded):
    """The scan was cancelled."""

    def __init__(self, scan: Scan) -> None:
        super().__init__(f"scan {scan.id} was cancelled", scan)


class WaitTimeout(ScanEnded, TimeoutError):
    """The scan still runs after the time that you gave. Wait again, or cancel it."""

    def __init__(self, scan: Scan, timeout: float) -> None:
        super().__init__(f"scan {scan.id} is still {scan.status} after {timeout:g} s", scan)


_CLASSES: tuple[type[ApiError], ...] = (
    InvalidRequest,
    NotAuthenticated,
    NotPermitted,
    NotFound,
    Conflict,
    Refused,
    ServiceUnavailable,
    RateLimited,
    ServerError,
)
_BY_NAME = {kind.__name__: kind for kind in _CLASSES}
CLASS_OF_CODE: dict[str, type[ApiError]] = {code.value: _BY_NAME[code.sdk_class] for code in ErrorCode}

REFUSALS: frozenset[str] = frozenset(code for code, kind in CLASS_OF_CODE.items() if kind is Refused)
"""Codes that mean: the model could not be scanned. Neither `clean` nor a mistake in the request."""

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
    """The class for an HTTP status, if the code is unknown."""
    if status in CLASS_OF_STATUS:
        return CLASS_OF_STATUS[status]
    if 400 <= status < 500:
        return InvalidRequest
    return ServerError if status >= 500 else UnexpectedAnswer
