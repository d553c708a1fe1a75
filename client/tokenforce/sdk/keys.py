"""`client.keys`: API keys. Needs a key with the scope `admin`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from tokenforce.sdk.calls import Call, checked, once, page_params, path_of_one, reader
from tokenforce.sdk.transport import AsyncTransport, Transport
from tokenforce.wire.keys import Key, KeyLimits, KeyPage, KeyRequest, NewKey

PATH = "/v1/keys"


def key_request(
    *,
    owner: str,
    scopes: Sequence[str],
    name: str,
    expires_at: datetime | None,
    limits: KeyLimits | Mapping[str, int] | None,
) -> KeyRequest:
    """The body of a new key. Raises `InvalidRequest`, as the service would."""
    given: dict[str, Any] = {"owner": owner, "scopes": list(scopes), "name": name, "expires_at": expires_at}
    if limits is not None:
        given["limits"] = limits
    return checked(KeyRequest, given)


def create_call(request: KeyRequest) -> Call[NewKey]:
    body = request.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    return Call("POST", PATH, reader(NewKey), json=body, headers=once())


def list_call(*, page_size: int | None) -> Call[KeyPage]:
    return Call("GET", PATH, reader(KeyPage), params=page_params(page_size))


def get_call(key_id: str) -> Call[Key]:
    return Call("GET", _path(key_id), reader(Key))


def revoke_call(key_id: str) -> Call[Key]:
    return Call("DELETE", _path(key_id), reader(Key))


def _path(key_id: str) -> str:
    """Takes a whole token too, and sends only its id: services log paths."""
    key_id = re.sub(r"^tf_([A-Za-z0-9]+)_.*", r"\1", key_id.strip(), flags=re.DOTALL)
    return path_of_one(PATH, key_id, "key")


class Keys:
    """`client.keys`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        *,
        owner: str,
        scopes: Sequence[str],
        name: str = "",
        expires_at: datetime | None = None,
        limits: KeyLimits | Mapping[str, int] | None = None,
    ) -> NewKey:
        """Create a key. Only this answer shows its `token`.

        Args:
            owner: owner of everything created with this key.
            limits: limits of this key, such as `{"scans_per_day": 100}`, instead of the service's.

        Raises:
            InvalidRequest: an option is wrong.
            Conflict: an earlier attempt made the key, and its answer with the token was lost. Revoke that key.
        """
        request = key_request(owner=owner, scopes=scopes, name=name, expires_at=expires_at, limits=limits)
        return self._transport.send(create_call(request))

    def get(self, key_id: str) -> Key:
        """One key, without its secret. Raises `NotFound`."""
        return self._transport.send(get_call(key_id))

    def iter(self, *, page_size: int | None = None) -> Iterator[Key]:
        """All keys, also revoked ones, newest first, fetched page by page while you iterate."""
        return self._transport.items(list_call(page_size=page_size))

    def revoke(self, key_id: str) -> Key:
        """End a key permanently. What was created with it stays. Works again on a revoked key. Raises `NotFound`."""
        return self._transport.send(revoke_call(key_id))


class AsyncKeys:
    """`client.keys` with `await`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        *,
        owner: str,
        scopes: Sequence[str],
        name: str = "",
        expires_at: datetime | None = None,
        limits: KeyLimits | Mapping[str, int] | None = None,
    ) -> NewKey:
        """As `Keys.create`, with `await`."""
        request = key_request(owner=owner, scopes=scopes, name=name, expires_at=expires_at, limits=limits)
        return await self._transport.send(create_call(request))

    async def get(self, key_id: str) -> Key:
        """As `Keys.get`, with `await`."""
        return await self._transport.send(get_call(key_id))

    def iter(self, *, page_size: int | None = None) -> AsyncIterator[Key]:
        """As `Keys.iter`, with `async for`."""
        return self._transport.items(list_call(page_size=page_size))

    async def revoke(self, key_id: str) -> Key:
        """As `Keys.revoke`, with `await`."""
        return await self._transport.send(revoke_call(key_id))
