"""The wire types: everything that crosses HTTP, shared by the SDK, the gateway and the workers."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from tokenforce.wire.base import WireAnswer, WireRequest
from tokenforce.wire.findings import Finding, LicenceMatch, SuppressedToken, Verdict

SCHEMA_VERSION = "1.3"
"""Version of the report document. The minor number grows with additions, the major with changes."""


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


class ErrorCode(StrEnum):
    """Stable codes of every problem document (RFC 9457 `code` extension)."""

    invalid_request = "invalid_request"
    body_too_large = "body_too_large"
    body_too_slow = "body_too_slow"
    unauthenticated = "unauthenticated"
    scope_missing = "scope_missing"
    key_not_found = "key_not_found"
    not_found = "not_found"
    method_not_allowed = "method_not_allowed"
    scan_not_found = "scan_not_found"
    scan_finished = "scan_finished"
    report_not_ready = "report_not_ready"
    invalid_cursor = "invalid_cursor"
    too_many_streams = "too_many_streams"
    unknown_context = "unknown_context"
    unknown_preset = "unknown_preset"
    model_not_found = "model_not_found"
    path_not_allowed = "path_not_allowed"
    config_missing = "config_missing"
    tokenizer_missing = "tokenizer_missing"
    weights_missing = "weights_missing"
    pickle_weights = "pickle_weights"
    remote_code = "remote_code"
    weights_corrupt = "weights_corrupt"
    model_invalid = "model_invalid"
    model_too_large = "model_too_large"
    unsupported_architecture = "unsupported_architecture"
    hub_unreachable = "hub_unreachable"
    reference_mismatch = "reference_mismatch"
    base_missing = "base_missing"
    adapter_mismatch = "adapter_mismatch"
    fingerprint_not_found = "fingerprint_not_found"
    fingerprint_exists = "fingerprint_exists"
    fingerprint_limit = "fingerprint_limit"
    webhook_not_found = "webhook_not_found"
    webhook_url_refused = "webhook_url_refused"
    name_lookup_failed = "name_lookup_failed"
    webhook_limit = "webhook_limit"
    webhook_disabled = "webhook_disabled"
    delivery_not_found = "delivery_not_found"
    delivery_pending = "delivery_pending"
    hook_not_found = "hook_not_found"
    hook_limit = "hook_limit"
    hook_key_ended = "hook_key_ended"
    hook_secret_unknown = "hook_secret_unknown"
    hook_signature_invalid = "hook_signature_invalid"
    hook_message_stale = "hook_message_stale"
    hook_message_reused = "hook_message_reused"
    length_exceeds_model = "length_exceeds_model"
    no_chat_template = "no_chat_template"
    engine_failed = "engine_failed"
    deadline_exceeded = "deadline_exceeded"
    store_unavailable = "store_unavailable"
    storage_full = "storage_full"
    rate_limited = "rate_limited"
    quota_exceeded = "quota_exceeded"
    overloaded = "overloaded"
    invalid_idempotency_key = "invalid_idempotency_key"
    idempotency_key_reused = "idempotency_key_reused"
    idempotency_in_flight = "idempotency_in_flight"
    already_created = "already_created"
    internal_error = "internal_error"


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


class Problem(WireAnswer):
    """RFC 9457 problem details."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    instance: str | None = None
    request_id: str | None = None
    errors: list[dict[str, Any]] = Field(default=[])


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


class SettingsRecord(WireAnswer):
    preset: str
    alpha: int
    beta: int
    floor: float
    keep: int
    min_tokens: int
    count_forced_token: bool
    stop_at_end: bool


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
