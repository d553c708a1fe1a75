"""Which upload hook started a scan."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from tokenforce.wire.audits import AuditRules


class HookOrigin(BaseModel):
    """The hook that started a scan, with its rules at that time: the hook may change before the scan ends."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    hook_id: str
    rules: AuditRules
    metadata: dict[str, str] = {}
    """From the sender of the event."""
