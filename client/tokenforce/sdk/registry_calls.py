"""What both clients ask the fingerprint registry, and how they read its answers; no I/O, as in `flows`."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from tokenforce.sdk import calls
from tokenforce.sdk.calls import Call
from tokenforce.wire.fingerprints import Fingerprint, FingerprintPage, FingerprintRequest, TextHash

PATH = "/v1/fingerprints"


def fingerprint_request(
    *, owner: str, licence: str, text: str | None, text_hash: TextHash | None, triggers: Sequence[str]
) -> FingerprintRequest:
    """The body of a registration; raises `InvalidRequest` as the service would, without quoting a secret."""
    given = {"owner": owner, "licence": licence, "text": text, "text_hash": text_hash, "triggers": list(triggers)}
    try:
        return FingerprintRequest.model_validate(given)
    except ValidationError as error:
        # Not `from error`: its traceback is what ends up in logs.
        raise calls.invalid(error) from None


def create(request: FingerprintRequest) -> Call[Fingerprint]:
    """Register it."""
    body = request.model_dump(mode="json", exclude_none=True)
    return Call("POST", PATH, calls.reader(Fingerprint), json=body, headers=calls.once())


def list_fingerprints(*, page_size: int | None) -> Call[FingerprintPage]:
    return Call("GET", PATH, calls.reader(FingerprintPage), params=calls.page_params(page_size))


def get(fingerprint_id: str) -> Call[Fingerprint]:
    return Call("GET", _path(fingerprint_id), calls.reader(Fingerprint))


def remove(fingerprint_id: str) -> Call[None]:
    return Call("DELETE", _path(fingerprint_id), calls.nothing)


def _path(fingerprint_id: str) -> str:
    return calls.path_of_one(PATH, fingerprint_id, "fingerprint")
