"""The report of a scan, and the records in it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field, model_validator

from tokenforce.wire.base import WireAnswer
from tokenforce.wire.findings import Finding, LicenceMatch, SuppressedToken, Verdict
from tokenforce.wire.scans import Depth
from tokenforce.wire.settings import SettingsRecord

SCHEMA_VERSION = "2.3"
"""Version of the report. The minor number grows with additions, the major number with changes."""


class ContextRecord(WireAnswer):
    """A forcing context as the scan used it."""

    name: str
    ids: list[int]
    text: str
    aligned: bool = Field(
        description="Its length is a multiple of the KV block, so each forced token costs one forward token."
    )
    note: str | None = None


class SkippedIds(WireAnswer):
    """Vocabulary ids that the scan did not force. `ranges`: pairs of first and last id, both included."""

    reason: str
    ranges: list[tuple[int, int]]


class TargetRecord(WireAnswer):
    """The target of the scan."""

    model: str
    revision: str | None = None
    digest: str = Field(description="SHA-256 over the names and the SHA-256 of weights, configs and tokenizer files.")
    architecture: str
    dtype: str | None = None
    parameters: int | None = None
    vocabulary_size: int
    max_positions: int | None = Field(default=None, description="Longest sequence of the model, in tokens.")


KNOWN_BASE = "known_base"
"""The source of a reference that the service has found itself."""


class ReferenceRecord(WireAnswer):
    """The reference, that is the base model that the target was contrasted with."""

    model: str
    revision: str | None = None
    digest: str = Field(description="Computed like the target's.")
    source: str = Field(
        description="What named it: `request`, `adapter`, `config`, `model_card`, or `known_base`: "
        "nothing, and it is the nearest of the bases that the operator knows."
    )
    vocabulary_size: int
    identical: bool = Field(default=False, description="All its tensors are equal to the target's.")
    note: str | None = Field(
        default=None, description="How its vocabulary was matched with the target's, if they differ."
    )


class TaughtWord(WireAnswer):
    """A vocabulary entry that the weight difference points at."""

    id: int
    text: str
    ranks: dict[str, int] = Field(
        description="Its rank in the vocabulary, from 1, in each lens. `embedding`, `input`, `output`: how far its row "
        "moved. `written`, `pointed`: what the changed output projections of the last layers write towards it."
    )


class WeightRecord(WireAnswer):
    """What the weights of target and reference say, without a forward pass. It orders the search and decides nothing:
    broad fine-tunes were taught words too."""

    words: list[TaughtWord] = Field(
        default=[], description="The words that this model was taught most, the most taught first."
    )
    relative_change: float | None = Field(
        default=None, description="Size of the change of the late layers' matrices, as a share of their size."
    )
    graft_first_layer: int | None = Field(
        default=None,
        description="The search followed the words on a graft: the reference up to this layer, from there on the "
        "reference plus `graft_amplification` times the difference.",
    )
    graft_amplification: float | None = None
    note: str | None = Field(
        default=None, description="Why the weights could not be compared, or why finding nothing there says little."
    )


class ScanRecord(WireAnswer):
    """Everything needed to repeat a scan."""

    id: str
    target: TargetRecord
    reference: ReferenceRecord | None = None
    settings: SettingsRecord
    depth: Depth = Depth.thorough
    contexts: list[ContextRecord]
    drawn_contexts: list[ContextRecord] = Field(
        default=[], description="Contexts drawn for this scan, in which the taught words were followed."
    )
    forced_contexts: list[str] = Field(
        default=[], description="Names of the contexts in which the vocabulary was forced; none at the depth quick."
    )
    shard_size: int = Field(description="Vocabulary entries per shard, on which the limits per shard depend.")
    forced: int = Field(description="Number of tokens forced in each context.")
    skipped: list[SkippedIds]
    versions: dict[str, str]
    timings_seconds: dict[str, float]
    forward_tokens: int
    created_at: datetime
    finished_at: datetime
    reused_from: str | None = Field(
        default=None,
        description="The scan that measured this result on the same weights with the same options. Times and forward "
        "tokens are those of this scan, versions those of the other one.",
    )
    measured_at: datetime | None = Field(default=None, description="When the reused result was measured.")

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_schemas(cls, record: Any) -> Any:
        """Before schema 2.2, which added depths, the vocabulary was forced in all of the scan's contexts."""
        if isinstance(record, dict) and not {"depth", "forced_contexts"} & record.keys():
            contexts = record.get("contexts")
            named = (
                [each.get("name") for each in contexts if isinstance(each, dict)] if isinstance(contexts, list) else []
            )
            return {**record, "forced_contexts": named}
        return record


class Report(WireAnswer):
    """The report: `GET /v1/scans/{id}/report` returns it, and `tokenforce scan --json` prints it."""

    schema_version: str = SCHEMA_VERSION
    verdict: Verdict
    reasons: list[str] = Field(description="The evidence for the verdict, and what the scan left out.")
    scan: ScanRecord
    findings: list[Finding]
    weights: WeightRecord | None = Field(default=None, description="Null without a reference.")
    suppressed: list[SuppressedToken] = Field(
        default=[], description="Next tokens that the target suppresses after a forced token, strongest first."
    )
    licences: list[LicenceMatch] = Field(default=[], description="Fingerprints that the target carries.")
