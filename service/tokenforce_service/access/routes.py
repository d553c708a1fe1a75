"""The routes under /v1/keys, for the scope `admin`. Only the answer to a POST shows a token, and only once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, cast

from fastapi import APIRouter, Body, Request, Response

from tokenforce.wire.keys import Key, KeyPage, KeyRequest, NewKey, Scope
from tokenforce.wire.problems import ErrorCode
from tokenforce_service.access.callers import KeyRing, needs
from tokenforce_service.access.store import KeyRow
from tokenforce_service.access.tokens import KEY_ID
from tokenforce_service.http.idempotency import NewSecretId
from tokenforce_service.http.openapi import answer_of, problems
from tokenforce_service.http.pages import InPages
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
"""The token is of the right form, and no key's."""


def _keys(request: Request) -> KeyRing:
    return cast(KeyRing, request.app.state.keys)


def key_view(row: KeyRow) -> Key:
    """A key without its secret's digest."""
    return Key(
        id=row.id,
        owner=row.owner,
        name=row.name,
        scopes=sorted(row.scopes),
        created_at=datetime.fromtimestamp(row.created_at, UTC),
        last_used_at=_time(row.last_used_at),
        expires_at=_time(row.expires_at),
        revoked_at=_time(row.revoked_at),
        limits=row.limits,
    )


@router.post(
    "",
    status_code=201,
    response_model=NewKey,
    responses={201: answer_of(EXAMPLE_NEW_KEY), **problems(400, 409, 413, 422, 503)},
    summary="Make a key",
)
def create(
    body: Annotated[KeyRequest, Body(openapi_examples=EXAMPLE_REQUESTS)],
    new_id: NewSecretId,
    request: Request,
    response: Response,
) -> NewKey:
    """The answer holds the token; nobody can read it again, not by the same Idempotency-Key either."""
    row, token = _keys(request).store.create(body.owner, body.scopes, body.name, _expiry(body), new_id, body.limits)
    response.headers["Location"] = f"/v1/keys/{row.id}"
    response.headers["Cache-Control"] = "no-store"
    return NewKey(token=str(token), **dict(key_view(row)))


@router.get(
    "",
    response_model=KeyPage,
    responses=problems(400, 422, 503),
    summary="List keys, newest first, revoked ones too",
)
def list_keys(request: Request, page: InPages) -> KeyPage:
    rows, next_cursor = page.cut(_keys(request).store.page(page.wanted, page.before))
    return KeyPage(items=[key_view(row) for row in rows], next_cursor=next_cursor)


@router.get(
    "/{key_id}",
    response_model=Key,
    responses={200: answer_of(EXAMPLE_KEY), **problems(404, 503)},
    summary="One key",
)
def get(key_id: str, request: Request) -> Key:
    return key_view(_row(request, key_id))


@router.delete(
    "/{key_id}",
    response_model=Key,
    responses={200: answer_of(EXAMPLE_KEY), **problems(404, 503)},
    summary="Revoke a key for good",
)
def revoke(key_id: str, request: Request) -> Key:
    """Other gateway processes take it for a few seconds longer. What it made stays; it may be revoked again."""
    _row(request, key_id)
    _keys(request).store.revoke(key_id)
    _keys(request).forget(key_id)
    return key_view(_row(request, key_id))


def _row(request: Request, key_id: str) -> KeyRow:
    # Anything else could name another of the store's keys.
    row = _keys(request).store.get(key_id) if KEY_ID.fullmatch(key_id) else None
    if row is None:
        # Not quoted: somebody may have given the whole token.
        raise Refusal(ErrorCode.key_not_found, "There is no key of this id; list them with GET /v1/keys.")
    return row


def _expiry(body: KeyRequest) -> float | None:
    if body.expires_at is None:
        return None
    left = body.expires_at - datetime.now(UTC)
    if not timedelta(0) < left <= LONGEST_LIFE:
        detail = "expires_at must lie ahead, and at most ten years; leave it out for a key that does not expire."
        raise Refusal(ErrorCode.invalid_request, detail)
    return body.expires_at.timestamp()


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
