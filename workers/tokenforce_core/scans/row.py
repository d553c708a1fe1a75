"""A scan as Redis keeps it: field names and their types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tokenforce.wire.findings import Verdict
from tokenforce.wire.problems import Problem
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce_core.runtime.redis_pages import row_key
from tokenforce_core.scans.origin import HookOrigin

STATE_FIELDS = (
    "status",
    "entries_total",
    "entries",
    "tokens",
    "contrast_entries",
    "search_total",
    "confirm_total",
    "last_token_at",
    "busy_seconds",
    "verdict",
    "error",
    *(f"at:{status.value}" for status in ScanStatus),
)
ROW_FIELDS = ("request", "owner", "created_at", "ended", "origin", *STATE_FIELDS)
"""What a poll reads: all but the plan, which is as long as the vocabulary is, and what only scripts need."""


scan_key = partial(row_key, "tf:scan")
"""The Redis key of a scan's row, or of a part beside it."""


@dataclass(frozen=True, kw_only=True)
class ScanState:
    """The state of a scan. Times are seconds since the epoch; `reached[status]` is when a status began."""

    status: ScanStatus
    reached: Mapping[ScanStatus, float]
    error: Problem | None
    verdict: Verdict | None
    entries_total: int | None
    entries_done: int
    forward_tokens: int
    contrast_done: int
    search_total: int | None
    confirm_total: int | None
    live: Mapping[str, tuple[int, int]]
    """Uncommitted work: part → (entries or candidates done, forward tokens)."""
    last_token_at: float | None
    busy_seconds: float
    """Seconds with forward tokens, without pauses such as restarts and the loading of a model."""

    origin: HookOrigin | None = None
    """The upload hook that started it, if one did."""

    @property
    def finished_at(self) -> float | None:
        return self.reached.get(self.status) if self.status.final else None


@dataclass(frozen=True, kw_only=True)
class ScanRow(ScanState):
    """A scan as stored."""

    id: str
    owner: str
    """Owner of the key that started it, and the only one who sees it."""
    request: ScanRequest
    created_at: float
    last_event: str | None
    """The id of the event of its end, once it has ended."""


def scan_row(scan_id: str, values: Sequence[str | None], live: Mapping[str, str]) -> ScanRow | None:
    """The scan of these values of `ROW_FIELDS`; None if there is none."""
    fields = {name: value for name, value in zip(ROW_FIELDS, values, strict=True) if value is not None}
    if "request" not in fields:
        return None
    state = scan_state(fields, live)
    return ScanRow(
        id=scan_id,
        owner=fields["owner"],
        request=ScanRequest.model_validate_json(fields["request"]),
        created_at=float(fields["created_at"]),
        last_event=fields.get("ended"),
        **vars(state),
    )


def scan_state(fields: Mapping[str, str], live: Mapping[str, str]) -> ScanState:
    """The state of these `STATE_FIELDS`; `live` is part → "done tokens"."""
    number = {key: int(fields[key]) for key in ("entries_total", "search_total", "confirm_total") if key in fields}
    parts: dict[str, tuple[int, int]] = {}
    for part, value in live.items():
        done, _, tokens = value.partition(" ")
        parts[part] = (int(done), int(tokens))
    return ScanState(
        status=ScanStatus(fields["status"]),
        reached={ScanStatus(k[3:]): float(v) for k, v in fields.items() if k.startswith("at:")},
        error=Problem.model_validate_json(fields["error"]) if fields["status"] == "failed" else None,
        verdict=Verdict(fields["verdict"]) if "verdict" in fields else None,
        entries_total=number.get("entries_total"),
        entries_done=int(fields.get("entries", 0)),
        forward_tokens=int(fields.get("tokens", 0)),
        contrast_done=int(fields.get("contrast_entries", 0)),
        search_total=number.get("search_total"),
        confirm_total=number.get("confirm_total"),
        live=parts,
        last_token_at=float(fields["last_token_at"]) if "last_token_at" in fields else None,
        busy_seconds=float(fields.get("busy_seconds", 0.0)),
        origin=HookOrigin.model_validate_json(fields["origin"]) if "origin" in fields else None,
    )
