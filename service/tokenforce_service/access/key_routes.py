"""The routes under /v1/keys, for the scope `admin`. The answer to a POST shows a token; no other answer does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from tokenforce.wire.keys import Key, KeyPage, KeyRequest, NewKey, Scope
from tokenforce.wire.problems import ErrorCode
from tokenforce_service.access.callers import KeyRing, TheKeys, needs
from tokenforce_service.access.key_store import KeyRow
from tokenforce_service.access.tokens import KEY_ID
from tokenforce_service.http.idempotency import NewSecretId, shown_once
from tokenforce_service.http.openapi import answer_of, problems
from tokenforce_service.http.pages import InPages
from tokenforce_service.moments import moment
from tokenforce_service.refusals import Refusal

router = APIRouter(prefix="/v1/keys", tags=["keys"], dependencies=[needs(Scope.admin)])
LONGEST_LIFE = timedelta(days=3660)

EXAMPLE_KEY_REQUEST: dict[str, Any] = {
    "owner": "marketplace",
    "scopes": ["scans:read", "scans:write"],
    "name": "upload pipeline",
    "limits": {"scans_per_day": 1000},
}

EXAMPLE_REQUESTS: dict[str, Any] = {
    "pipeline": {"summary": "A key for an upload pipeline", "value": EXAMPLE_KEY_REQUEST},
}

EXAMPLE_KEY: dict[str, Any] = {
    "id": "Zk3tB7qLw0Xe9RfA",
    **EXAMPLE_KEY_REQUEST,
    "created_at": "2026-11-22T21:40:00Z",
    "last_used_at": "2026-11-23T09:30:00Z",
    "expires_at": None,
    "revoked_at": None,
    "limits": {"reads_per_minute": None, "writes_per_minute": None, "active_scans": None, "scans_per_day": 1000},
}

EXAMPLE_NEW_KEY: dict[str, Any] = {
    **EXAMPLE_KEY,
    "last_used_at": None,
    "token": f"tf_{EXAMPLE_KEY['id']}_{'x' * 43}",
}
"""The token has the right form and belongs to no key."""


def key_view(row: KeyRow) -> Key:
    """A key without the digest of its secret."""
    return Key(
        id=row.id,
        owner=row.owner,
        name=row.name,
        scopes=sorted(row.scopes),
        created_at=moment(row.created_at),
        last_used_at=moment(row.last_used_at),
        expires_at=moment(row.expires_at),
        revoked_at=moment(row.revoked_at),
        limits=row.limits,
    )


@router.post(
    "",
    status_code=201,
    response_model=NewKey,
    responses={201: answer_of(EXAMPLE_NEW_KEY), **problems(400, 409, 413, 422, 503)},
    summary="Create a key",
)
def create(
    body: Annotated[KeyRequest, Body(openapi_examples=EXAMPLE_REQUESTS)],
    new_id: NewSecretId,
    keys: TheKeys,
    response: Response,
) -> NewKey:
    """The answer holds the token. It cannot be shown again, not even with the same Idempotency-Key."""
    row, token = keys.store.create(body.owner, body.scopes, body.name, _expiry(body), new_id, body.limits)
    shown_once(response, f"/v1/keys/{row.id}")
    return NewKey(token=str(token), **dict(key_view(row)))


@router.get(
    "",
    response_model=KeyPage,
    responses=problems(400, 422, 503),
    summary="List keys, newest first, including revoked ones",
)
def list_keys(keys: TheKeys, page: InPages) -> KeyPage:
    rows, next_cursor = page.cut(keys.store.page(page.wanted, page.before))
    return KeyPage(items=[key_view(row) for row in rows], next_cursor=next_cursor)


@router.get(
    "/{key_id}",
    response_model=Key,
    responses={200: answer_of(EXAMPLE_KEY), **problems(404, 503)},
    summary="Get a key",
)
def get(key_id: str, keys: TheKeys) -> Key:
    return key_view(_known(keys, key_id))


@router.delete(
    "/{key_id}",
    response_model=Key,
    responses={200: answer_of(EXAMPLE_KEY), **problems(404, 503)},
    summary="Revoke a key",
)
def revoke(key_id: str, keys: TheKeys) -> Key:
    """The key ends for good; other gateway processes accept it for a few more seconds.

    What was created with it stays. Revoking it again changes nothing.
    """
    _known(keys, key_id)
    keys.store.revoke(key_id)
    keys.forget(key_id)
    return key_view(_known(keys, key_id))


def _known(keys: KeyRing, key_id: str) -> KeyRow:
    # An id of another form could name another key of the store.
    row = keys.store.get(key_id) if KEY_ID.fullmatch(key_id) else None
    if row is None:
        # Not quoted: it may be a whole token.
        raise Refusal(ErrorCode.key_not_found, "There is no key with this id; list them with GET /v1/keys.")
    return row


def _expiry(body: KeyRequest) -> float | None:
    if body.expires_at is None:
        return None
    left = body.expires_at - datetime.now(UTC)
    if not timedelta(0) < left <= LONGEST_LIFE:
        detail = "expires_at must be in the future, at most ten years ahead; leave it out for a key that never expires."
        raise Refusal(ErrorCode.invalid_request, detail)
    return body.expires_at.timestamp()
