"""What both clients ask the fingerprint registry, and how they read its answers; no I/O, as in `flows`."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from tokenforce import flows
from tokenforce.flows import Call
from tokenforce.registry import Fingerprint, FingerprintPage, FingerprintRequest, TextHash

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
        raise flows.invalid(error) from None


def create(request: FingerprintRequest) -> Call[Fingerprint]:
    """Register it."""
    body = request.model_dump(mode="json", exclude_none=True)
    return Call("POST", PATH, flows.reader(Fingerprint), json=body, headers=flows.once())


def list_fingerprints(*, page_size: int | None) -> Call[FingerprintPage]:
    return Call("GET", PATH, flows.reader(FingerprintPage), params=flows.page_params(page_size))


def get(fingerprint_id: str) -> Call[Fingerprint]:
    return Call("GET", _path(fingerprint_id), flows.reader(Fingerprint))


def remove(fingerprint_id: str) -> Call[None]:
    return Call("DELETE", _path(fingerprint_id), flows.nothing)


def _path(fingerprint_id: str) -> str:
    return flows.path_of_one(PATH, fingerprint_id, "fingerprint")
