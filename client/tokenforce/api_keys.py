"""Wire types of API keys: who may call the service, and for what."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """What a key allows; `admin` includes the others, and sees what belongs to every owner."""

    scans_read = "scans:read"
    scans_write = "scans:write"
    hooks = "hooks"
    admin = "admin"
