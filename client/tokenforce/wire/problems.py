"""What goes wrong: the stable error codes and the problem document (RFC 9457)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from tokenforce.wire.base import WireAnswer


class ErrorCode(StrEnum):
    """Stable codes of every problem document (RFC 9457 `code` extension)."""

    invalid_request = "invalid_request"
    body_too_large = "body_too_large"
    body_too_slow = "body_too_slow"
    unauthenticated = "unauthenticated"
    scope_missing = "scope_missing"
    key_not_found = "key_not_found"
    not_found = "not_found"
    method_not_allowed = "method_not_allowed"
    scan_not_found = "scan_not_found"
    scan_finished = "scan_finished"
    report_not_ready = "report_not_ready"
    invalid_cursor = "invalid_cursor"
    too_many_streams = "too_many_streams"
    unknown_context = "unknown_context"
    unknown_preset = "unknown_preset"
    model_not_found = "model_not_found"
    path_not_allowed = "path_not_allowed"
    config_missing = "config_missing"
    tokenizer_missing = "tokenizer_missing"
    weights_missing = "weights_missing"
    pickle_weights = "pickle_weights"
    remote_code = "remote_code"
    weights_corrupt = "weights_corrupt"
    model_invalid = "model_invalid"
    model_too_large = "model_too_large"
    unsupported_architecture = "unsupported_architecture"
    hub_unreachable = "hub_unreachable"
    reference_mismatch = "reference_mismatch"
    base_missing = "base_missing"
    adapter_mismatch = "adapter_mismatch"
    fingerprint_not_found = "fingerprint_not_found"
    fingerprint_exists = "fingerprint_exists"
    fingerprint_limit = "fingerprint_limit"
    webhook_not_found = "webhook_not_found"
    webhook_url_refused = "webhook_url_refused"
    name_lookup_failed = "name_lookup_failed"
    webhook_limit = "webhook_limit"
    webhook_disabled = "webhook_disabled"
    delivery_not_found = "delivery_not_found"
    delivery_pending = "delivery_pending"
    hook_not_found = "hook_not_found"
    hook_limit = "hook_limit"
    hook_key_ended = "hook_key_ended"
    hook_secret_unknown = "hook_secret_unknown"
    hook_signature_invalid = "hook_signature_invalid"
    hook_message_stale = "hook_message_stale"
    hook_message_reused = "hook_message_reused"
    length_exceeds_model = "length_exceeds_model"
    no_chat_template = "no_chat_template"
    engine_failed = "engine_failed"
    deadline_exceeded = "deadline_exceeded"
    store_unavailable = "store_unavailable"
    storage_full = "storage_full"
    rate_limited = "rate_limited"
    quota_exceeded = "quota_exceeded"
    overloaded = "overloaded"
    invalid_idempotency_key = "invalid_idempotency_key"
    idempotency_key_reused = "idempotency_key_reused"
    idempotency_in_flight = "idempotency_in_flight"
    already_created = "already_created"
    internal_error = "internal_error"


class Problem(WireAnswer):
    """RFC 9457 problem details."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    instance: str | None = None
    request_id: str | None = None
    errors: list[dict[str, Any]] = Field(default=[])
