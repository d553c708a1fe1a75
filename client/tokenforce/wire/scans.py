"""The wire types: everything that crosses HTTP, shared by the SDK, the gateway and the workers."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from tokenforce.wire.base import WireAnswer, WireRequest
from tokenforce.wire.findings import Finding, Verdict
from tokenforce.wire.problems import Problem


class ScanStatus(StrEnum):
    """Life of a scan; the last three are final."""

    queued = "queued"
    planning = "planning"
    sweeping = "sweeping"
    contrasting = "contrasting"
    confirming = "confirming"
    aggregating = "aggregating"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"

    @property
    def final(self) -> bool:
        return self in (ScanStatus.succeeded, ScanStatus.failed, ScanStatus.cancelled)


class Preset(StrEnum):
    """`standard`: ours. `paper`: the exact arithmetic of arXiv 2406.02481's notebook."""

    standard = "standard"
    paper = "paper"


class Priority(StrEnum):
    """How soon a scan's turn comes. `high` needs a key with the scope `admin`."""

    low = "low"
    normal = "normal"
    high = "high"


class Order(StrEnum):
    """The rankings of the findings; `contrast` needs a reference."""

    probability = "probability"
    repetition = "repetition"
    contrast = "contrast"


class CustomContext(WireRequest):
    """A forcing context of the caller's own, as text or as token ids."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,31}$", description="Shown in the findings.")
    text: str | None = Field(default=None, max_length=20_000)
    ids: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, min_length=1, max_length=4096)

    @model_validator(mode="after")
    def _one_of(self) -> CustomContext:
        if (self.text is None) == (self.ids is None):
            raise ValueError("give either text or ids")
        return self


def _kind_of_context(value: object) -> str:
    return "name" if isinstance(value, str) else "custom"


# Told apart by hand, so that an error speaks of the kind that was meant.
ContextChoice = Annotated[
    Annotated[str, Tag("name")] | Annotated[CustomContext, Tag("custom")], Discriminator(_kind_of_context)
]
ContextName = Literal["bos", "assistant", "assistant_system"]
MAX_CONTEXTS = 16
BUILT_IN_CONTEXTS: tuple[ContextName, ...] = ("bos", "assistant", "assistant_system")


class ScanRequest(WireRequest):
    """Body of `POST /v1/scans`."""

    model: str = Field(
        min_length=1,
        max_length=1024,
        description="A folder under a configured root, or a hub id `org/name[@revision]`.",
    )
    reference: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="The base model to contrast with: a folder, a hub id, `auto` (what the adapter or the model's own "
        "files name as base) or `none`. Default: a LoRA adapter's base, nothing for other models. "
        "Finding nothing is `clean` with a reference and `inconclusive` without.",
    )
    preset: str = Field(default=Preset.standard, description="`standard` or `paper`.")
    contexts: list[ContextChoice] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_CONTEXTS,
        description="`bos`, `assistant`, `assistant_system`, or custom ones. Default: the preset's.",
    )
    alpha: int | None = Field(default=None, ge=1, le=4096, description="Sweep length in tokens.")
    beta: int | None = Field(default=None, ge=1, le=4096, description="Confirm length in tokens.")
    floor: float | None = Field(
        default=None, ge=0.0, lt=1.0, description="Sequences at or under this mean probability are dropped."
    )
    keep: int | None = Field(default=None, ge=1, le=10_000, description="Candidates kept per context.")
    force_ids: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None,
        min_length=1,
        max_length=100_000,
        description="Force only these vocabulary ids: a quick look, or a sample. Finding nothing is then inconclusive.",
    )
    priority: Priority = Field(
        default=Priority.normal,
        description="`low`, `normal` or `high`. Better ones are scanned first, and leave a fifth to the others. "
        "`high` needs the scope `admin`.",
    )
    force: bool = Field(
        default=False,
        description="Scan even if an equal scan of the same weights has a report, which would be reused.",
    )


class RequestRecord(ScanRequest):
    """A request as an answer shows it: fields that a newer service added do not break an older SDK."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Progress(WireAnswer):
    """How far the current stage is. Counts are entries (vocabulary entry × context) or candidates."""

    stage: ScanStatus
    done: int = 0
    total: int | None = None
    tokens_per_second: float | None = None
    eta_seconds: float | None = None


class Scan(WireAnswer):
    """One scan as `GET /v1/scans/{id}` shows it."""

    id: str
    owner: str | None = Field(default=None, description="Of the key that started it; nobody else sees the scan.")
    status: ScanStatus
    model: str
    request: RequestRecord
    progress: Progress
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    verdict: Verdict | None = None
    error: Problem | None = None
    hook_id: str | None = Field(default=None, description="The upload hook that started it.")
    links: dict[str, str] = Field(default={})


class ScanPage(WireAnswer):
    items: list[Scan]
    next_cursor: str | None = None


class FindingsPage(WireAnswer):
    items: list[Finding]
    next_cursor: str | None = None
    partial: bool = Field(description="True while the scan runs: ranks can still change.")
