"""Events of the generic hook: who signed them, whether they are fresh, and what was uploaded.

Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA-256 over id, timestamp and body, good for five minutes.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

import standardwebhooks

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.upload_hooks import UploadEvent
from tokenforce_service.models.open import is_local
from tokenforce_service.refusals import Refusal
from tokenforce_service.upload_hooks.start_scan import Upload

LONGEST_ID = 200
_CHALLENGE = {"WWW-Authenticate": "webhook-signature"}


def message_id_of(headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> str:
    """The `webhook-id` of a message that was signed with one of the secrets within the last minutes.

    Raises:
        Refusal: `hook_signature_invalid` (missing, malformed, or of another secret or body), `hook_message_stale`.
    """
    refusal = _forged("the hook has no secret")
    for secret in secrets:
        try:
            return _signed_with(secret, headers, body)
        except Refusal as error:
            refusal = error
    raise refusal


def _signed_with(secret: str, headers: Mapping[str, str], body: bytes) -> str:
    try:
        standardwebhooks.Webhook(secret).verify(body, dict(headers), json_parse=False)
    except standardwebhooks.WebhookVerificationError as error:
        if "timestamp too" in str(error):
            detail = "The webhook-timestamp is more than five minutes off; check your clock and sign the message again."
            raise Refusal(ErrorCode.hook_message_stale, detail, headers=_CHALLENGE) from error
        raise _forged(str(error)) from error
    except (ValueError, OverflowError) as error:  # not base64, not UTF-8
        raise _forged("malformed headers or body") from error
    message_id = headers["webhook-id"]
    if len(message_id) > LONGEST_ID:
        raise _forged(f"a webhook-id of more than {LONGEST_ID} characters")
    return message_id


def _forged(why: str) -> Refusal:
    detail = (
        f"The signature is not valid ({why}); send webhook-id, webhook-timestamp and webhook-signature, and sign the "
        "body exactly as you send it, with the secret of the hook."
    )
    return Refusal(ErrorCode.hook_signature_invalid, detail, headers=_CHALLENGE)


def upload_of(event: UploadEvent, message_id: str) -> Upload:
    """The upload that an event describes. Without a revision or sha, each message counts as a new upload."""
    revision = event.sha or event.revision
    name, _, named = event.model.partition("@")
    if is_local(event.model):  # a folder has no revisions: here they only distinguish uploads
        # The patterns and the scan see the same path: `..` must not lead out of the folders that a policy names.
        name = model = "/" + posixpath.normpath(event.model).lstrip("/")
    else:
        revision = revision or named or None
        model = name if revision is None else f"{name}@{revision}"
    content = ("upload", name, revision) if revision is not None else ("message", name, message_id)
    return Upload(name, model, content, event.metadata)
