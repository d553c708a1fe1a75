"""Where a scan that nobody asked for by hand comes from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from tokenforce.wire.audits import AuditRules


class HookOrigin(BaseModel):
    """The hook that started a scan, and the rules as they were then: the hook may change or go before the scan ends."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    hook_id: str
    rules: AuditRules
    metadata: dict[str, str] = {}
    """As the sender of the event gave it."""
