"""What can go wrong: the error codes, in one table with their HTTP status and SDK class, and the problem document."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field
from pydantic_core import ErrorDetails

from tokenforce.wire.base import WireAnswer


class ErrorCode(StrEnum):
    """Stable codes of problem documents (RFC 9457). A row: code, HTTP status, class in `tokenforce.sdk.errors`."""

    status: int
    """HTTP status of an answer with this code."""
    sdk_class: str
    """Name of the class in `tokenforce.sdk.errors` that the SDK raises for it."""

    def __new__(cls, code: str, status: int = 0, sdk_class: str = "") -> ErrorCode:  # defaults: for `ErrorCode(text)`
        member = str.__new__(cls, code)
        member._value_ = code
        member.status = status
        member.sdk_class = sdk_class
        return member

    # the request
    invalid_request = "invalid_request", 422, "InvalidRequest"
    body_too_large = "body_too_large", 413, "InvalidRequest"
    body_too_slow = "body_too_slow", 408, "ServiceUnavailable"
    method_not_allowed = "method_not_allowed", 405, "InvalidRequest"
    invalid_cursor = "invalid_cursor", 400, "InvalidRequest"
    not_found = "not_found", 404, "NotFound"
    unknown_context = "unknown_context", 422, "InvalidRequest"
    unknown_preset = "unknown_preset", 422, "InvalidRequest"
    invalid_idempotency_key = "invalid_idempotency_key", 400, "InvalidRequest"
    idempotency_key_reused = "idempotency_key_reused", 422, "InvalidRequest"
    idempotency_in_flight = "idempotency_in_flight", 409, "Conflict"
    already_created = "already_created", 409, "Conflict"

    # keys and limits
    unauthenticated = "unauthenticated", 401, "NotAuthenticated"
    scope_missing = "scope_missing", 403, "NotPermitted"
    key_not_found = "key_not_found", 404, "NotFound"
    rate_limited = "rate_limited", 429, "RateLimited"
    quota_exceeded = "quota_exceeded", 429, "RateLimited"
    too_many_streams = "too_many_streams", 429, "RateLimited"

    # scans
    scan_not_found = "scan_not_found", 404, "NotFound"
    scan_finished = "scan_finished", 409, "Conflict"
    report_not_ready = "report_not_ready", 409, "Conflict"

    # the model: it could not be scanned
    model_not_found = "model_not_found", 422, "Refused"
    path_not_allowed = "path_not_allowed", 403, "Refused"
    config_missing = "config_missing", 422, "Refused"
    tokenizer_missing = "tokenizer_missing", 422, "Refused"
    weights_missing = "weights_missing", 422, "Refused"
    pickle_weights = "pickle_weights", 422, "Refused"
    remote_code = "remote_code", 422, "Refused"
    weights_corrupt = "weights_corrupt", 422, "Refused"
    model_invalid = "model_invalid", 422, "Refused"
    model_too_large = "model_too_large", 422, "Refused"
    unsupported_architecture = "unsupported_architecture", 422, "Refused"
    hub_unreachable = "hub_unreachable", 502, "Refused"
    reference_mismatch = "reference_mismatch", 422, "Refused"
    base_missing = "base_missing", 422, "Refused"
    adapter_mismatch = "adapter_mismatch", 422, "Refused"
    length_exceeds_model = "length_exceeds_model", 422, "Refused"
    no_chat_template = "no_chat_template", 422, "Refused"
    engine_failed = "engine_failed", 500, "Refused"
    deadline_exceeded = "deadline_exceeded", 504, "Refused"

    # fingerprints
    fingerprint_not_found = "fingerprint_not_found", 404, "NotFound"
    fingerprint_exists = "fingerprint_exists", 409, "Conflict"
    fingerprint_limit = "fingerprint_limit", 409, "Conflict"

    # webhooks: outgoing
    webhook_not_found = "webhook_not_found", 404, "NotFound"
    webhook_url_refused = "webhook_url_refused", 422, "InvalidRequest"
    name_lookup_failed = "name_lookup_failed", 503, "ServiceUnavailable"
    webhook_limit = "webhook_limit", 409, "Conflict"
    webhook_disabled = "webhook_disabled", 409, "Conflict"
    delivery_not_found = "delivery_not_found", 404, "NotFound"
    delivery_pending = "delivery_pending", 409, "Conflict"

    # upload hooks: incoming
    hook_not_found = "hook_not_found", 404, "NotFound"
    hook_limit = "hook_limit", 409, "Conflict"
    hook_key_ended = "hook_key_ended", 403, "NotPermitted"
    hook_secret_unknown = "hook_secret_unknown", 401, "NotAuthenticated"
    hook_signature_invalid = "hook_signature_invalid", 401, "NotAuthenticated"
    hook_message_stale = "hook_message_stale", 401, "NotAuthenticated"
    hook_message_reused = "hook_message_reused", 409, "Conflict"

    # the service
    store_unavailable = "store_unavailable", 503, "ServiceUnavailable"
    storage_full = "storage_full", 503, "ServiceUnavailable"
    overloaded = "overloaded", 503, "ServiceUnavailable"
    internal_error = "internal_error", 500, "ServerError"


def message_of(fault: ErrorDetails) -> str:
    """What is wrong with a field. pydantic puts "Value error, " before the messages of our own rules."""
    return fault["msg"].removeprefix("Value error, ")


class Problem(WireAnswer):
    """Problem details (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="What is wrong and what to do, in one line.")
    code: str = Field(description="Stable code; see `ErrorCode`. A newer service may have more codes.")
    instance: str | None = None
    request_id: str | None = Field(default=None, description="Id of the request; the service's logs contain it.")
    errors: list[dict[str, Any]] = Field(default=[], description="One entry per wrong field of the request.")


_TITLES: dict[int, str] = {
    400: "Bad request",
    401: "Key required",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Too slow",
    409: "Conflict",
    413: "Body too large",
    422: "Cannot be processed",
    429: "Too many requests",
    500: "Internal error",
    502: "Model hub unreachable",
    503: "Service unavailable",
    504: "Deadline exceeded",
}


def problem_of(
    code: ErrorCode,
    detail: str,
    *,
    status: int | None = None,
    instance: str | None = None,
    request_id: str | None = None,
) -> Problem:
    """The problem document of a code.

    Args:
        status: instead of the code's own.
    """
    status = status or code.status
    return Problem(
        type=f"urn:tokenforce:problem:{code.value}",
        title=_TITLES.get(status, "Error"),
        status=status,
        detail=detail,
        code=code.value,
        instance=instance,
        request_id=request_id,
    )
