"""The one table of error codes, as callers rely on it."""

from __future__ import annotations

import copy

import pytest

import tokenforce
from tokenforce import ErrorCode
from tokenforce.sdk import errors

TABLE = """
Conflict 409 idempotency_in_flight already_created scan_finished report_not_ready fingerprint_exists fingerprint_limit
  webhook_limit webhook_disabled delivery_pending hook_limit hook_message_reused
InvalidRequest 400 invalid_cursor invalid_idempotency_key
InvalidRequest 405 method_not_allowed
InvalidRequest 413 body_too_large
InvalidRequest 422 invalid_request unknown_context unknown_preset idempotency_key_reused webhook_url_refused
NotAuthenticated 401 unauthenticated hook_secret_unknown hook_signature_invalid hook_message_stale
NotFound 404 not_found key_not_found scan_not_found fingerprint_not_found webhook_not_found delivery_not_found
  hook_not_found
NotPermitted 403 scope_missing hook_key_ended
RateLimited 429 rate_limited quota_exceeded too_many_streams
Refused 403 path_not_allowed
Refused 422 model_not_found config_missing tokenizer_missing weights_missing pickle_weights remote_code
  weights_corrupt model_invalid model_too_large unsupported_architecture reference_mismatch base_missing
  adapter_mismatch length_exceeds_model no_chat_template
Refused 500 engine_failed
Refused 502 hub_unreachable
Refused 504 deadline_exceeded
ServerError 500 internal_error
ServiceUnavailable 408 body_too_slow
ServiceUnavailable 503 name_lookup_failed store_unavailable storage_full overloaded
"""
"""Class, status, codes. A changed line here is a changed API."""


def test_the_table_is_what_callers_rely_on() -> None:
    found: dict[tuple[str, int], list[str]] = {}
    for code in ErrorCode:
        found.setdefault((code.sdk_class, code.status), []).append(code.value)
    written = " ".join(f"{kind} {status} {' '.join(codes)}" for (kind, status), codes in sorted(found.items()))
    assert written == " ".join(TABLE.split())


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_a_public_class(code: ErrorCode) -> None:
    kind = errors.CLASS_OF_CODE[code]
    assert kind is getattr(tokenforce, code.sdk_class)
    assert issubclass(kind, errors.ApiError)


def test_a_code_is_its_text() -> None:
    for code in ErrorCode:
        assert code == code.name == code.value == str(code)
        assert ErrorCode(code.value) is code is copy.deepcopy(code)
    with pytest.raises(ValueError, match="a_code_of_tomorrow"):
        ErrorCode("a_code_of_tomorrow")
