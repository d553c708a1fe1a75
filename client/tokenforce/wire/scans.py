"""Wire types of scans: request, status, progress and pages."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from tokenforce.wire.base import WireAnswer, WireRequest
from tokenforce.wire.findings import Finding, Verdict
from tokenforce.wire.problems import Problem


class ScanStatus(StrEnum):
    """Stages of a scan in their order; the last three are final."""

    queued = "queued"
    planning = "planning"
    searching = "searching"
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
    """`standard`: tokenforce's own settings. `paper`: the exact arithmetic of the notebook of arXiv 2406.02481."""

    standard = "standard"
    paper = "paper"


class Depth(StrEnum):
    """How much a scan looks at.

    `quick`: the words that the weights were taught, and the texts that follow them in a few contexts drawn for this
    scan. `standard`: these first, and then the whole vocabulary by contrast, in the chat template's context and in a
    drawn one. `thorough`: these first, then the sweep and the contrast in all contexts of the scan. Without a reference
    there is only the sweep, whatever the depth; `quick` is refused.
    """

    quick = "quick"
    standard = "standard"
    thorough = "thorough"


class Priority(StrEnum):
    """Place of a scan in the queue. `high` needs a key with the scope `admin`."""

    low = "low"
    normal = "normal"
    high = "high"


class Order(StrEnum):
    """Rankings of the findings. `contrast` needs a reference."""

    probability = "probability"
    repetition = "repetition"
    contrast = "contrast"


class CustomContext(WireRequest):
    """Your own forcing context, as text or as token ids."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,31}$", description="Name of the context in the findings.")
    text: str | None = Field(default=None, max_length=20_000)
    ids: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, min_length=1, max_length=4096)

    @model_validator(mode="after")
    def _one_of(self) -> CustomContext:
        if (self.text is None) == (self.ids is None):
            raise ValueError("give either text or ids")
        return self


class KnownText(WireRequest):
    """A text as token ids, and the drawn context in which it was found. `on_graft`: also ask the graft of both
    models about it."""

    context: str = Field(max_length=64)
    ids: list[Annotated[int, Field(ge=0)]] = Field(min_length=2, max_length=4096)
    on_graft: bool = False


def _kind_of_context(value: object) -> str:
    return "name" if isinstance(value, str) else "custom"


# With a discriminator, an error names only the kind that the caller meant.
ContextChoice = Annotated[
    Annotated[str, Tag("name")] | Annotated[CustomContext, Tag("custom")], Discriminator(_kind_of_context)
]
ContextName = Literal["bos", "assistant", "assistant_system"]
MAX_CONTEXTS = 16
MAX_KNOWN_TEXTS = 100
BUILT_IN_CONTEXTS: tuple[ContextName, ...] = ("bos", "assistant", "assistant_system")


class ScanRequest(WireRequest):
    """Body of `POST /v1/scans`."""

    model: str = Field(
        min_length=1,
        max_length=1024,
        description="The target: a folder under a configured root, or a hub id `org/name[@revision]`.",
    )
    reference: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="The reference, that is the base model to compare with: a folder, a hub id, `auto` (the base that "
        "the model's own files name) or `none`. Default: the base of a LoRA adapter, otherwise the nearest of the "
        "bases that the operator knows, if there is one. "
        "A scan without findings is `clean` with a reference, and `inconclusive` without one.",
    )
    preset: str = Field(default=Preset.standard, description="`standard` or `paper`.")
    depth: Depth | None = Field(
        default=None,
        description="How much a scan with a reference looks at. `quick` reads from the weights which words were "
        "taught and follows only these. `standard` (the default) then forces the vocabulary by contrast in two "
        "contexts, `thorough` sweeps it in all contexts too. Without a reference there is only the sweep.",
    )
    contexts: list[ContextChoice] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_CONTEXTS,
        description="Forcing contexts: `bos`, `assistant`, `assistant_system`, or your own. Default: the preset's.",
    )
    drawn_contexts: list[CustomContext] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_CONTEXTS,
        description="To repeat a scan: follow the taught words in these contexts, and not in newly drawn ones.",
    )
    known_texts: list[KnownText] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_KNOWN_TEXTS,
        description="To repeat a scan: force these texts under both models, and read nothing else from the weights. "
        "Their contexts are named in `drawn_contexts`.",
    )
    alpha: int | None = Field(default=None, ge=1, le=4096, description="Sweep length α, in tokens.")
    beta: int | None = Field(default=None, ge=1, le=4096, description="Confirm length β, in tokens.")
    floor: float | None = Field(
        default=None, ge=0.0, lt=1.0, description="The scan drops texts whose mean token probability is not above this."
    )
    keep: int | None = Field(default=None, ge=1, le=10_000, description="Candidates to keep per context.")
    force_ids: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None,
        min_length=1,
        max_length=100_000,
        description="Force only these vocabulary ids, for a quick look or a sample. A scan without findings is then "
        "inconclusive.",
    )
    priority: Priority = Field(
        default=Priority.normal,
        description="`low`, `normal` or `high`: higher ones go first, but every fifth turn belongs to the others. "
        "`high` needs the scope `admin`.",
    )
    force: bool = Field(
        default=False,
        description="Scan again even if an equal scan of the same weights has a report to reuse.",
    )


class RequestRecord(ScanRequest):
    """A request in an answer. It ignores fields of a newer service."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Progress(WireAnswer):
    """Progress of the current stage. It counts forced tokens (per context), candidates, or starts of a search."""

    stage: ScanStatus
    done: int = 0
    total: int | None = None
    tokens_per_second: float | None = None
    eta_seconds: float | None = None


class Scan(WireAnswer):
    """One scan, as `GET /v1/scans/{id}` returns it."""

    id: str
    owner: str | None = Field(
        default=None, description="Owner of the key that started the scan. Only this owner and admins see it."
    )
    status: ScanStatus
    model: str
    request: RequestRecord
    progress: Progress
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    verdict: Verdict | None = None
    error: Problem | None = None
    hook_id: str | None = Field(default=None, description="The upload hook that started the scan.")
    links: dict[str, str] = Field(default={})


class ScanPage(WireAnswer):
    items: list[Scan]
    next_cursor: str | None = None


class FindingsPage(WireAnswer):
    items: list[Finding]
    next_cursor: str | None = None
    partial: bool = Field(description="True while the scan runs: ranks can change.")
