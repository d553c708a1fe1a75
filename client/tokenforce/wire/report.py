"""The report document of a scan, and the records in it."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from tokenforce.wire.base import WireAnswer
from tokenforce.wire.findings import Finding, LicenceMatch, SuppressedToken, Verdict
from tokenforce.wire.settings import SettingsRecord

SCHEMA_VERSION = "2.0"
"""Version of the report document. The minor number grows with additions, the major with changes."""


class ContextRecord(WireAnswer):
    """A forcing context as it was used."""

    name: str
    ids: list[int]
    text: str
    aligned: bool = Field(description="Its length is a multiple of the KV block: one forward token per entry.")
    note: str | None = None


class SkippedIds(WireAnswer):
    """Vocabulary ids that were not forced. `ranges` are [first, last], both included."""

    reason: str
    ranges: list[tuple[int, int]]


class TargetRecord(WireAnswer):
    """What was scanned."""

    model: str
    revision: str | None = None
    digest: str = Field(description="SHA-256 over the names and SHA-256 of the weights, configs and tokenizer files.")
    architecture: str
    dtype: str | None = None
    parameters: int | None = None
    vocabulary_size: int
    max_positions: int | None = Field(default=None, description="The model's longest sequence in tokens.")


class ReferenceRecord(WireAnswer):
    """The base model that a target was contrasted with."""

    model: str
    revision: str | None = None
    digest: str = Field(description="As the target's.")
    source: str = Field(description="Who named it: `request`, `adapter`, `config` or `model_card`.")
    vocabulary_size: int
    identical: bool = Field(default=False, description="Every tensor is equal to the target's.")
    note: str | None = Field(default=None, description="How its vocabulary was matched, if that was needed.")


class ScanRecord(WireAnswer):
    """Everything needed to repeat a scan."""

    id: str
    target: TargetRecord
    reference: ReferenceRecord | None = None
    settings: SettingsRecord
    contexts: list[ContextRecord]
    forced: int = Field(description="Vocabulary entries forced per context.")
    skipped: list[SkippedIds]
    versions: dict[str, str]
    timings_seconds: dict[str, float]
    forward_tokens: int
    created_at: datetime
    finished_at: datetime
    reused_from: str | None = Field(
        default=None,
        description="The scan whose result this is: the same weights, asked the same. Times and forward tokens are "
        "this scan's own, versions are the other's.",
    )
    measured_at: datetime | None = Field(default=None, description="When the reused result was found.")


class Report(WireAnswer):
    """The one report document: `tokenforce scan --json` and `GET /v1/scans/{id}/report` print it."""

    schema_version: str = SCHEMA_VERSION
    verdict: Verdict
    reasons: list[str] = Field(description="The evidence behind the verdict, and what was not looked at.")
    scan: ScanRecord
    findings: list[Finding]
    suppressed: list[SuppressedToken] = Field(
        default=[], description="What the target was trained not to say after a forced token, the strongest first."
    )
    licences: list[LicenceMatch] = Field(default=[], description="Registered fingerprints that this upload carries.")
