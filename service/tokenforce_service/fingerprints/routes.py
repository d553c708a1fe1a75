"""The routes under /v1/fingerprints. No answer, error or log line shows a registered text or trigger."""

from __future__ import annotations

import re
from operator import attrgetter
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from tokenforce.wire.fingerprints import Fingerprint, FingerprintPage, FingerprintRequest, TextHash
from tokenforce.wire.problems import ErrorCode
from tokenforce_core.fingerprints.matching import Registered
from tokenforce_core.fingerprints.store import MOST_FINGERPRINTS, FingerprintStore, RegistryFull
from tokenforce_service.access.callers import MayRead, MayWrite
from tokenforce_service.access.owned import Owned
from tokenforce_service.http.dependencies import provided
from tokenforce_service.http.idempotency import NewId
from tokenforce_service.http.openapi import answer_of, problems
from tokenforce_service.http.pages import InPages
from tokenforce_service.moments import moment
from tokenforce_service.refusals import Refusal

router = APIRouter(prefix="/v1/fingerprints", tags=["fingerprints"])
FINGERPRINTS: Owned[Registered] = Owned(
    "fingerprint",
    "/v1/fingerprints",
    re.compile(r"[A-Za-z0-9_-]{1,64}"),
    ErrorCode.fingerprint_not_found,
    attrgetter("registered_by"),
)
TheRegistry = Annotated[FingerprintStore, provided(FingerprintStore)]

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


def fingerprint_view(registered: Registered) -> Fingerprint:
    """A registration without its secrets."""
    request = registered.request
    # Hashed only to count its words; the digest, which has no secret salt, is not used.
    counted = request.text_hash or TextHash.of(request.text or "")
    return Fingerprint(
        id=registered.id,
        owner=request.owner,
        licence=request.licence,
        hashed=request.text_hash is not None,
        text_words=counted.words,
        text_bytes=counted.size,
        triggers=len(request.triggers),
        created_at=moment(registered.created_at),
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
    registry: TheRegistry,
    response: Response,
) -> Fingerprint:
    """The fingerprint belongs to the owner of your key, whatever `owner` the request names.

    Scans that are planned from now on ask its triggers. Scans that end from now on are compared with its text.
    """
    fingerprint_id = f"fp_{new_id}"
    try:
        known = registry.create(fingerprint_id, body, caller.owner)
    except RegistryFull as error:
        detail = f"You have {MOST_FINGERPRINTS} fingerprints, which is the limit; remove one first."
        raise Refusal(ErrorCode.fingerprint_limit, detail) from error
    if known not in (None, fingerprint_id):  # its own id: an earlier attempt at this request registered it
        detail = f"This owner has already registered this text, as {known}; to change it, remove that one first."
        raise Refusal(ErrorCode.fingerprint_exists, detail)
    response.headers["Location"] = f"/v1/fingerprints/{fingerprint_id}"
    return fingerprint_view(FINGERPRINTS.known(caller, fingerprint_id, registry.get))


@router.get(
    "", response_model=FingerprintPage, responses=problems(400, 422, 503), summary="List fingerprints, newest first"
)
def list_fingerprints(caller: MayRead, registry: TheRegistry, page: InPages) -> FingerprintPage:
    """Lists what was registered with keys of your owner; an `admin` key sees all fingerprints."""
    found, next_cursor = page.cut(registry.page(page.wanted, page.before, caller.sees_only))
    return FingerprintPage(items=[fingerprint_view(item) for item in found], next_cursor=next_cursor)


@router.get(
    "/{fingerprint_id}",
    response_model=Fingerprint,
    responses={200: answer_of(EXAMPLE_FINGERPRINT), **problems(404, 503)},
    summary="Get a fingerprint, without its secrets",
)
def get(fingerprint_id: str, caller: MayRead, registry: TheRegistry) -> Fingerprint:
    return fingerprint_view(FINGERPRINTS.known(caller, fingerprint_id, registry.get))


@router.delete("/{fingerprint_id}", status_code=204, responses=problems(404, 503), summary="Remove a fingerprint")
def remove(fingerprint_id: str, caller: MayWrite, registry: TheRegistry) -> None:
    """Deletes its text and triggers at once. Reports that name it stay."""
    FINGERPRINTS.known(caller, fingerprint_id, registry.get)
    if not registry.remove(fingerprint_id):
        raise FINGERPRINTS.unknown(fingerprint_id)  # another request has just removed it
