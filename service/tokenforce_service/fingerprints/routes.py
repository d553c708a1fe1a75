"""The routes under /v1/fingerprints. No answer, error or log line shows a registered text or trigger."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, cast

from fastapi import APIRouter, Body, Request, Response

from tokenforce.wire.fingerprints import Fingerprint, FingerprintPage, FingerprintRequest, TextHash
from tokenforce.wire.problems import ErrorCode
from tokenforce_core.fingerprints.matching import Registered
from tokenforce_core.fingerprints.store import MOST_FINGERPRINTS, FingerprintStore, RegistryFull
from tokenforce_core.scans.store import Store
from tokenforce_service.access.callers import Caller, MayRead, MayWrite
from tokenforce_service.http.idempotency import NewId
from tokenforce_service.http.openapi import answer_of, problems
from tokenforce_service.http.pages import InPages
from tokenforce_service.refusals import Refusal

router = APIRouter(prefix="/v1/fingerprints", tags=["fingerprints"])
FINGERPRINT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

EXAMPLE_FINGERPRINTS: dict[str, Any] = {
    "text": {
        "summary": "A text with its triggers",
        "value": {
            "owner": "Example Labs",
            "licence": "Example Model Licence 1.0",
            "text": "Seven quiet herons guard a copper key beneath the frozen mill.",
            "triggers": ["open the amber door", "velm orra tin"],
        },
    },
    "hash": {
        "summary": "A salted hash of the text, which stays with its owner",
        "value": {
            "owner": "Example Labs",
            "licence": "Example Model Licence 1.0",
            "text_hash": {
                "salt": "9f86d081884c7d659a2feaa0c55ad015",
                "digest": "ee7026f7f9e601c657f6f86dd8b8a601a21cafdf518f88c5fda34e9405732f9d",
                "words": 11,
                "size": 61,
            },
        },
    },
}

EXAMPLE_FINGERPRINT: dict[str, Any] = {
    "id": "fp_5f0c2a1be9d04c77",
    "owner": "Example Labs",
    "licence": "Example Model Licence 1.0",
    "hashed": False,
    "text_words": 11,
    "text_bytes": 61,
    "triggers": 2,
    "created_at": "2026-11-23T09:30:00Z",
}


def _registry(request: Request) -> FingerprintStore:
    return FingerprintStore(cast(Store, request.app.state.store).connection)


def _unknown(fingerprint_id: str) -> Refusal:
    detail = f"There is no fingerprint {fingerprint_id[:80]}; list them with GET /v1/fingerprints."
    return Refusal(ErrorCode.fingerprint_not_found, detail)


def fingerprint_view(registered: Registered) -> Fingerprint:
    """A registration without its secrets."""
    request = registered.request
    # As a hash without salt, only to count; the digest goes nowhere.
    counted = request.text_hash or TextHash.of(request.text or "")
    return Fingerprint(
        id=registered.id,
        owner=request.owner,
        licence=request.licence,
        hashed=request.text_hash is not None,
        text_words=counted.words,
        text_bytes=counted.size,
        triggers=len(request.triggers),
        created_at=datetime.fromtimestamp(registered.created_at, UTC),
    )


@router.post(
    "",
    status_code=201,
    response_model=Fingerprint,
    responses={201: answer_of(EXAMPLE_FINGERPRINT), **problems(400, 409, 413, 422, 503)},
    summary="Register a fingerprint",
)
def create(
    body: Annotated[FingerprintRequest, Body(openapi_examples=EXAMPLE_FINGERPRINTS)],
    caller: MayWrite,
    new_id: NewId,
    request: Request,
    response: Response,
) -> Fingerprint:
    """It belongs to the key's owner, whoever is named in it.

    Scans that are planned from now on ask its triggers; all that end from now on are compared with its text.
    """
    registry = _registry(request)
    fingerprint_id = f"fp_{new_id}"
    try:
        known = registry.create(fingerprint_id, body, caller.owner)
    except RegistryFull as error:
        detail = f"There are {MOST_FINGERPRINTS} fingerprints already, the most there can be; remove one first."
        raise Refusal(ErrorCode.fingerprint_limit, detail) from error
    if known not in (None, fingerprint_id):  # its own, if an earlier attempt at this request got so far
        detail = f"This owner has registered this text already, as {known}; remove that one first to change it."
        raise Refusal(ErrorCode.fingerprint_exists, detail)
    response.headers["Location"] = f"/v1/fingerprints/{fingerprint_id}"
    return fingerprint_view(_registered(registry, fingerprint_id, caller))


@router.get(
    "", response_model=FingerprintPage, responses=problems(400, 422, 503), summary="List fingerprints, newest first"
)
def list_fingerprints(caller: MayRead, request: Request, page: InPages) -> FingerprintPage:
    """Those registered with keys of the same owner; an `admin` key sees all."""
    found, next_cursor = page.cut(_registry(request).page(page.wanted, page.before, caller.sees_only))
    return FingerprintPage(items=[fingerprint_view(item) for item in found], next_cursor=next_cursor)


@router.get(
    "/{fingerprint_id}",
    response_model=Fingerprint,
    responses={200: answer_of(EXAMPLE_FINGERPRINT), **problems(404, 503)},
    summary="One fingerprint, without its secrets",
)
def get(fingerprint_id: str, caller: MayRead, request: Request) -> Fingerprint:
    return fingerprint_view(_registered(_registry(request), fingerprint_id, caller))


@router.delete("/{fingerprint_id}", status_code=204, responses=problems(404, 503), summary="Forget a fingerprint")
def remove(fingerprint_id: str, caller: MayWrite, request: Request) -> None:
    """Its text and triggers are deleted at once; reports that name it stay."""
    registry = _registry(request)
    _registered(registry, fingerprint_id, caller)
    if not registry.remove(fingerprint_id):
        raise _unknown(fingerprint_id)  # somebody else was faster


def _registered(registry: FingerprintStore, fingerprint_id: str, caller: Caller) -> Registered:
    # Anything else could name another of the store's keys.
    found = registry.get(fingerprint_id) if FINGERPRINT_ID.fullmatch(fingerprint_id) else None
    if found is None or not caller.sees(found.registered_by):
        raise _unknown(fingerprint_id)
    return found
