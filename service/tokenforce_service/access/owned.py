"""What belongs to an owner. For other callers it does not exist, so they cannot learn anything by guessing ids."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.access.callers import Caller
from tokenforce_service.refusals import Refusal

T = TypeVar("T")


@dataclass(frozen=True)
class Owned(Generic[T]):
    """A kind of thing with ids and owners, such as scans. `path` is the route that lists them."""

    name: str
    path: str
    ids: re.Pattern[str]
    not_found: ErrorCode
    owner: Callable[[T], str]

    def known(self, caller: Caller, thing_id: str, read: Callable[[str], T | None]) -> T:
        """The thing with this id, if it exists for the caller.

        Raises:
            Refusal: `not_found`.
        """
        found = self.read(thing_id, read)
        if found is None or not caller.sees(self.owner(found)):
            raise self.unknown(thing_id)
        return found

    def read(self, thing_id: str, read: Callable[[str], T | None]) -> T | None:
        """The thing with this id. An id of another form is not looked up: it could name another key of the store."""
        return read(thing_id) if self.ids.fullmatch(thing_id) else None

    def unknown(self, thing_id: str) -> Refusal:
        return Refusal(self.not_found, f"There is no {self.name} {thing_id[:80]}; list them with GET {self.path}.")
