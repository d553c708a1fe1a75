"""Wire types of upload hooks: what a marketplace or the Hub sends us, and who may."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from tokenforce.wire.audits import AuditRules
from tokenforce.wire.base import WireAnswer, WireRequest
from tokenforce.wire.scans import MAX_CONTEXTS, ContextChoice, Preset, Priority

Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Short = Annotated[str, StringConstraints(max_length=500)]


class HookKind(StrEnum):
    """`huggingface`: webhooks of the Hugging Face Hub. `upload`: anybody's, signed by Standard Webhooks."""

    huggingface = "huggingface"
    upload = "upload"


class HookPolicy(AuditRules):
    """What a hook scans, how, and what follows from it."""

    repos: list[Pattern] = Field(
        min_length=1,
        max_length=100,
        description="Models to scan, as shell patterns: `org/*`, `*-instruct`, `/uploads/*`. `*` matches any "
        "characters, `/` too; `?` one; `[…]` one of these. Letter case does not count.",
    )
    preset: Preset = Preset.standard
    reference: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="As in a scan: `auto`, `none`, or a model. Without one, finding nothing is `could_not_scan`.",
    )
    contexts: list[ContextChoice] | None = Field(default=None, min_length=1, max_length=MAX_CONTEXTS)
    priority: Literal[Priority.low, Priority.normal] = Priority.normal


class HookPolicyRecord(HookPolicy):
    """A policy as an answer shows it: fields that a newer service added do not break an older SDK."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class HookRequest(WireRequest):
    """Body of `POST /v1/hooks`."""

    kind: HookKind
    policy: HookPolicy


class HookChange(WireRequest):
    """Body of `PATCH /v1/hooks/{id}`. The policy is replaced as a whole; scans that were started keep theirs."""

    policy: HookPolicy


class Hook(WireAnswer):
    """A registered hook, without its secret."""

    id: str
    kind: str = Field(description="One of `HookKind`, or one of a newer service.")
    url: str = Field(description="Path at the service to which events are posted.")
    policy: HookPolicyRecord
    created_at: datetime


class HookSecret(Hook):
    """The answer to a registration or a rotation: the only one that shows the secret."""

    secret: str = Field(
        repr=False,
        description="For the Hub: the webhook's secret, as it is. For `upload`: `whsec_…`, the sender signs with it.",
    )
    previous_secrets_until: datetime | None = Field(
        default=None, description="Until then events are taken with the secret before this one as well."
    )


class HookPage(WireAnswer):
    items: list[Hook]
    next_cursor: str | None = None


# --- what is posted to a hook, and its answer -----------------------------------------------------------


class UploadEvent(WireAnswer):
    """Body of `POST /v1/hooks/upload`. Fields that are not here are ignored."""

    model: str = Field(min_length=1, max_length=800, description="A folder under a root, or a hub id `org/name`.")
    revision: str | None = Field(default=None, min_length=1, max_length=200, description="Of a hub id: what to scan.")
    sha: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The commit or checksum of this upload. Of a hub id it is scanned instead of `revision`. Give it "
        "if `revision` is a branch: a second event for the same model and sha (else revision) is the same scan.",
    )
    metadata: dict[Annotated[str, StringConstraints(max_length=100)], _Short] = Field(
        default={}, max_length=16, description="Your own notes; the audit answer repeats them."
    )


class HookAction(StrEnum):
    """`started`: a scan. `known`: this upload has a scan already. `ignored`: nothing to scan; `reason` says why."""

    started = "started"
    known = "known"
    ignored = "ignored"


class HookAnswer(WireAnswer):
    """What a hook made of an event."""

    hook_id: str
    action: HookAction
    reason: str
    scan_id: str | None = None
    links: dict[str, str] = Field(default={}, description="Paths at the service: `scan`, `audit`.")
