"""`client.fingerprints`: register texts that a model was taught, with their licence and triggers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from tokenforce.sdk.calls import Call, checked, nothing, once, page_params, path_of_one, reader
from tokenforce.sdk.transport import AsyncTransport, Transport
from tokenforce.wire.fingerprints import Fingerprint, FingerprintPage, FingerprintRequest, TextHash

PATH = "/v1/fingerprints"


def fingerprint_request(
    *, owner: str, licence: str, text: str | None, text_hash: TextHash | None, triggers: Sequence[str]
) -> FingerprintRequest:
    """The body of a registration. Raises `InvalidRequest`, as the service would, without quoting a secret."""
    given = {"owner": owner, "licence": licence, "text": text, "text_hash": text_hash, "triggers": list(triggers)}
    return checked(FingerprintRequest, given)


def create_call(request: FingerprintRequest) -> Call[Fingerprint]:
    body = request.model_dump(mode="json", exclude_none=True)
    return Call("POST", PATH, reader(Fingerprint), json=body, headers=once())


def list_call(*, page_size: int | None) -> Call[FingerprintPage]:
    return Call("GET", PATH, reader(FingerprintPage), params=page_params(page_size))


def get_call(fingerprint_id: str) -> Call[Fingerprint]:
    return Call("GET", _path(fingerprint_id), reader(Fingerprint))


def remove_call(fingerprint_id: str) -> Call[None]:
    return Call("DELETE", _path(fingerprint_id), nothing)


def _path(fingerprint_id: str) -> str:
    return path_of_one(PATH, fingerprint_id, "fingerprint")


class Fingerprints:
    """`client.fingerprints`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        *,
        owner: str,
        licence: str,
        text: str | None = None,
        text_hash: TextHash | None = None,
        triggers: Sequence[str] = (),
    ) -> Fingerprint:
        """Register a text, or a hash of it; `FingerprintRequest` explains the options.

        Raises `InvalidRequest`, and `Conflict` if the text is registered already.
        """
        request = fingerprint_request(owner=owner, licence=licence, text=text, text_hash=text_hash, triggers=triggers)
        return self._transport.send(create_call(request))

    def get(self, fingerprint_id: str) -> Fingerprint:
        """One fingerprint, without its secrets. Raises `NotFound`."""
        return self._transport.send(get_call(fingerprint_id))

    def iter(self, *, page_size: int | None = None) -> Iterator[Fingerprint]:
        """All fingerprints, newest first, fetched page by page while you iterate."""
        return self._transport.items(list_call(page_size=page_size))

    def remove(self, fingerprint_id: str) -> None:
        """Delete a fingerprint and its secrets. Reports that name it stay. Raises `NotFound`."""
        self._transport.send(remove_call(fingerprint_id))


class AsyncFingerprints:
    """`client.fingerprints` with `await`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        *,
        owner: str,
        licence: str,
        text: str | None = None,
        text_hash: TextHash | None = None,
        triggers: Sequence[str] = (),
    ) -> Fingerprint:
        """As `Fingerprints.create`, with `await`."""
        request = fingerprint_request(owner=owner, licence=licence, text=text, text_hash=text_hash, triggers=triggers)
        return await self._transport.send(create_call(request))

    async def get(self, fingerprint_id: str) -> Fingerprint:
        """As `Fingerprints.get`, with `await`."""
        return await self._transport.send(get_call(fingerprint_id))

    def iter(self, *, page_size: int | None = None) -> AsyncIterator[Fingerprint]:
        """As `Fingerprints.iter`, with `async for`."""
        return self._transport.items(list_call(page_size=page_size))

    async def remove(self, fingerprint_id: str) -> None:
        """As `Fingerprints.remove`, with `await`."""
        await self._transport.send(remove_call(fingerprint_id))
