"""Wire types of API keys."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints, field_validator

from tokenforce.wire.base import WireAnswer, WireRequest, WrittenOut


class Scope(StrEnum):
    """What a key may do. `admin` includes the other scopes, and sees the things of every owner."""

    scans_read = "scans:read"
    scans_write = "scans:write"
    hooks = "hooks"
    admin = "admin"


# Few characters, because an owner becomes part of Redis keys, log lines and tables.
Owner = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]


_Count = Annotated[int, Field(ge=1, le=10**9)]


class KeyLimits(WireRequest):
    """Limits of one key. A limit that is left out is the service's."""

    reads_per_minute: _Count | None = Field(default=None, description="Requests per minute that read.")
    writes_per_minute: _Count | None = Field(default=None, description="Requests per minute that change something.")
    active_scans: _Count | None = Field(default=None, description="Scans that have not ended.")
    scans_per_day: _Count | None = Field(default=None, description="New scans per day (UTC).")


class KeyLimitsRecord(KeyLimits):
    """Limits in an answer. It ignores fields of a newer service."""

    model_config = ConfigDict(extra="ignore", frozen=True)


USUAL_LIMITS = KeyLimitsRecord()
"""The default: the service's settings hold."""


class KeyRequest(WireRequest):
    """Body of `POST /v1/keys`."""

    owner: Owner = Field(
        description="Owner of everything created with this key; all keys of an owner see it. Letters, digits and "
        "`. _ @ -`."
    )
    scopes: list[Scope] = Field(min_length=1, max_length=len(Scope), description="What the key may do.")
    name: str = Field(default="", max_length=100, description="Name of the key in lists.")
    expires_at: Annotated[AwareDatetime, WrittenOut] | None = Field(
        default=None, description="When the key ends. Default: never."
    )
    limits: KeyLimits = Field(default=USUAL_LIMITS, description="Limits of this key, instead of the service's.")

    @field_validator("name")
    @classmethod
    def _printable(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("it has characters that do not print; remove them")
        return value


class Key(WireAnswer):
    """A key without its secret."""

    id: str = Field(description="The middle part of the token.")
    owner: str
    name: str = ""
    scopes: list[str] = Field(description="See `Scope`; a newer service may have more.")
    created_at: datetime
    last_used_at: datetime | None = Field(default=None, description="Exact to the minute.")
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    limits: KeyLimitsRecord = Field(default=USUAL_LIMITS, description="Limits of this key; null: the service's.")


class NewKey(Key):
    """The answer to `POST /v1/keys`. Only this answer shows the token."""

    token: str = Field(repr=False, description="`tf_<id>_<secret>`. Save it now: it cannot be shown again.")


class KeyPage(WireAnswer):
    items: list[Key]
    next_cursor: str | None = None


LOCAL_OWNER = "local"
"""Owner of everything created with the local stack's key."""
