"""Wire types of upload hooks: their registration, and the events that a marketplace or the Hub sends to them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from tokenforce.wire.audits import AuditRules
from tokenforce.wire.base import WireAnswer, WireRequest
from tokenforce.wire.scans import MAX_CONTEXTS, ContextChoice, Depth, Preset, Priority

Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Short = Annotated[str, StringConstraints(max_length=500)]


class HookKind(StrEnum):
    """`huggingface`: webhooks of the Hugging Face Hub. `upload`: any sender, signed as Standard Webhooks says."""

    huggingface = "huggingface"
    upload = "upload"


class HookPolicy(AuditRules):
    """What an upload hook scans and how, and which findings block an upload."""

    repos: list[Pattern] = Field(
        min_length=1,
        max_length=100,
        description="Models to scan, as shell patterns: `org/*`, `*-instruct`, `/uploads/*`. `*` matches any "
        "characters, also `/`; `?` matches one character, `[…]` one of these. Case is ignored.",
    )
    preset: Preset = Preset.standard
    reference: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="As for a scan: a model, `auto` or `none`. Without a reference, a scan without findings gives "
        "`could_not_scan`.",
    )
    depth: Depth | None = Field(default=None, description="As for a scan. `quick` needs a reference.")
    contexts: list[ContextChoice] | None = Field(default=None, min_length=1, max_length=MAX_CONTEXTS)
    priority: Literal[Priority.low, Priority.normal] = Priority.normal


class HookPolicyRecord(HookPolicy):
    """A policy in an answer. It ignores fields of a newer service."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class HookRequest(WireRequest):
    """Body of `POST /v1/hooks`."""

    kind: HookKind
    policy: HookPolicy


class HookChange(WireRequest):
    """Body of `PATCH /v1/hooks/{id}`. Replaces the whole policy. Scans that have started keep the old one."""

    policy: HookPolicy


class Hook(WireAnswer):
    """An upload hook without its secret."""

    id: str
    kind: str = Field(description="See `HookKind`; a newer service may have more.")
    url: str = Field(description="Path of the service that takes the events.")
    policy: HookPolicyRecord
    created_at: datetime


class HookSecret(Hook):
    """The answer to a registration or a rotation. Only this answer shows the secret."""

    secret: str = Field(
        repr=False,
        description="For `huggingface`: the secret to enter at the Hub. For `upload`: `whsec_…`, with which the sender "
        "signs.",
    )
    previous_secrets_until: datetime | None = Field(
        default=None, description="Until then the hook accepts the old secret too."
    )


class HookPage(WireAnswer):
    items: list[Hook]
    next_cursor: str | None = None


# --- events, and the answers to them -----------------------------------------------------------


class UploadEvent(WireAnswer):
    """Body of `POST /v1/hooks/upload`. The service ignores unknown fields."""

    model: str = Field(min_length=1, max_length=800, description="A folder under a root, or a hub id `org/name`.")
    revision: str | None = Field(
        default=None, min_length=1, max_length=200, description="Branch, tag or commit of a hub id."
    )
    sha: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The commit or checksum of this upload. For a hub id the service scans it instead of `revision`. "
        "Give it if `revision` is a branch: a second event with the same model and sha (or revision) gets the "
        "scan of the first one.",
    )
    metadata: dict[Annotated[str, StringConstraints(max_length=100)], _Short] = Field(
        default={}, max_length=16, description="Your own notes. The audit repeats them."
    )


class HookAction(StrEnum):
    """`started`: a new scan. `known`: this upload has a scan already. `ignored`: no scan; `reason` says why."""

    started = "started"
    known = "known"
    ignored = "ignored"


class HookAnswer(WireAnswer):
    """What an upload hook did with an event."""

    hook_id: str
    action: HookAction
    reason: str
    scan_id: str | None = None
    links: dict[str, str] = Field(default={}, description="Paths of the service: `scan`, `audit`.")
