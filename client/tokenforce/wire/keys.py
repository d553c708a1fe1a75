"""Wire types of API keys: who may call the service, and for what."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints, field_validator

from tokenforce.wire.base import WireAnswer, WireRequest, WrittenOut


class Scope(StrEnum):
    """What a key allows; `admin` includes the others, and sees what belongs to every owner."""

    scans_read = "scans:read"
    scans_write = "scans:write"
    hooks = "hooks"
    admin = "admin"


# Narrow, because it becomes part of keys in Redis, of log lines and of tables.
Owner = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]


_Count = Annotated[int, Field(ge=1, le=10**9)]


class KeyLimits(WireRequest):
    """What a key may do, where that differs from the settings of the service; those hold for what is left out."""

    reads_per_minute: _Count | None = Field(default=None, description="Requests that read.")
    writes_per_minute: _Count | None = Field(default=None, description="Requests that change something.")
    active_scans: _Count | None = Field(default=None, description="Scans that are not ended yet.")
    scans_per_day: _Count | None = Field(default=None, description="Scans that it may start per day (UTC).")


class KeyLimitsRecord(KeyLimits):
    """Limits as an answer shows them: fields that a newer service added do not break an older SDK."""

    model_config = ConfigDict(extra="ignore", frozen=True)


USUAL_LIMITS = KeyLimitsRecord()
"""Those of the settings."""


class KeyRequest(WireRequest):
    """Body of `POST /v1/keys`."""

    owner: Owner = Field(
        description="To whom all belongs that the key makes: letters, digits and `. _ @ -`. Keys of one owner share it."
    )
    scopes: list[Scope] = Field(min_length=1, max_length=len(Scope), description="What it allows.")
    name: str = Field(default="", max_length=100, description="To tell keys apart; shown in lists only.")
    expires_at: Annotated[AwareDatetime, WrittenOut] | None = Field(
        default=None, description="It ends by itself then. Default: never."
    )
    limits: KeyLimits = Field(default=USUAL_LIMITS, description="Of its own, instead of those of every key.")

    @field_validator("name")
    @classmethod
    def _printable(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("it has characters that do not print; remove them")
        return value


class Key(WireAnswer):
    """A key as lists show it: neither its secret nor anything made from it."""

    id: str = Field(description="The middle part of the token.")
    owner: str
    name: str = ""
    scopes: list[str] = Field(description="As in `Scope`; a newer service may know more.")
    created_at: datetime
    last_used_at: datetime | None = Field(default=None, description="To the minute.")
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    limits: KeyLimitsRecord = Field(default=USUAL_LIMITS, description="Of its own; null: as the settings say.")


class NewKey(Key):
    """The answer to `POST /v1/keys`, and the only one with the token."""

    token: str = Field(repr=False, description="`tf_<id>_<secret>`. It is not stored: keep it now.")


class KeyPage(WireAnswer):
    items: list[Key]
    next_cursor: str | None = None


LOCAL_OWNER = "local"
"""Owner of what the local stack's key makes, and of all that was stored before there were keys."""
