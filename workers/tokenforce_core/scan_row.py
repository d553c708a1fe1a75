"""A scan as Redis keeps it: field names and their types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenforce.evidence import Verdict
from tokenforce.types import Problem, ScanRequest, ScanStatus
from tokenforce_core.hook_origin import HookOrigin

LOCAL_OWNER = "local"
"""Owner of what the local stack's key makes, and of all that was stored before there were keys."""


@dataclass(frozen=True)
class ScanRow:
    """A scan as stored. Times are seconds since the epoch; `reached[status]` is when a status began."""

    id: str
    owner: str
    """Whose key started it; nobody else sees it."""
    request: ScanRequest
    status: ScanStatus
    created_at: float
    reached: Mapping[ScanStatus, float]
    error: Problem | None
    verdict: Verdict | None
    entries_total: int | None
    entries_done: int
    forward_tokens: int
    contrast_done: int
    confirm_total: int | None
    live: Mapping[str, tuple[int, int]]
    """Uncommitted work: part → (entries or candidates done, forward tokens)."""
    last_token_at: float | None
    busy_seconds: float
    """Time in which tokens came: pauses (restarts, a model that loads) are left out."""

    origin: HookOrigin | None = None
    """The hook that started it, if one did."""

    @property
    def finished_at(self) -> float | None:
        return self.reached.get(self.status) if self.status.final else None


def text(raw: Any) -> str:
    return raw.decode() if isinstance(raw, bytes) else str(raw)


def scan_row(scan_id: str, raw: Mapping[bytes, bytes], live: Mapping[bytes, bytes]) -> ScanRow:
    fields = {key.decode(): value.decode() for key, value in raw.items()}
    number = {key: int(fields[key]) for key in ("entries_total", "confirm_total") if key in fields}
    parts: dict[str, tuple[int, int]] = {}
    for part, value in live.items():
        done, _, tokens = value.decode().partition(" ")
        parts[part.decode()] = (int(done), int(tokens))
    return ScanRow(
        id=scan_id,
        owner=fields.get("owner", LOCAL_OWNER),
        request=ScanRequest.model_validate_json(fields["request"]),
        status=ScanStatus(fields["status"]),
        created_at=float(fields["created_at"]),
        reached={ScanStatus(k[3:]): float(v) for k, v in fields.items() if k.startswith("at:")},
        error=Problem.model_validate_json(fields["error"]) if fields["status"] == "failed" else None,
        verdict=Verdict(fields["verdict"]) if "verdict" in fields else None,
        entries_total=number.get("entries_total"),
        entries_done=int(fields.get("entries", 0)),
        forward_tokens=int(fields.get("tokens", 0)),
        contrast_done=int(fields.get("contrast_entries", 0)),
        confirm_total=number.get("confirm_total"),
        live=parts,
        last_token_at=float(fields["last_token_at"]) if "last_token_at" in fields else None,
        busy_seconds=float(fields.get("busy_seconds", 0.0)),
        origin=HookOrigin.model_validate_json(fields["origin"]) if "origin" in fields else None,
    )
