"""Wire types of the audit: the decision about an upload, made from its report."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from tokenforce.wire.base import WireAnswer, WireRequest
from tokenforce.wire.findings import LicenceMatch, Verdict

ANY_LICENCE = "any"


class Decision(StrEnum):
    """What to do with an upload. `could_not_scan`: there is no result; never treat it as `allow`."""

    allow = "allow"
    review = "review"
    block = "block"
    could_not_scan = "could_not_scan"


class Ground(StrEnum):
    """A reason against an upload.

    `memorised`: texts that look like training data, among which a message could hide; a policy that does not name it
    treats it as `suspicious`. `licence`: it carries a fingerprint whose licence is not accepted.
    """

    hidden_text = "hidden_text"
    suspicious = "suspicious"
    memorised = "memorised"
    licence = "licence"


class AuditRules(WireRequest):
    """Which findings block an upload, and which need a review."""

    accepted_licences: list[str] = Field(
        default=[],
        max_length=200,
        description="Licences of fingerprints that an upload may carry; `any` accepts all. The audit ignores "
        "texts with an accepted licence.",
    )
    fingerprint_owners: list[str] | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Owners whose fingerprints count. Default: all owners.",
    )
    block_on: list[Ground] = Field(default=[Ground.hidden_text], description="Each of these reasons blocks the upload.")
    review_on: list[Ground] = Field(
        default=[Ground.suspicious, Ground.memorised, Ground.licence],
        description="Each of these reasons needs a review by a person, if no reason blocks.",
    )

    @model_validator(mode="after")
    def _one_answer_each(self) -> AuditRules:
        if both := sorted(set(self.block_on) & set(self.review_on)):
            raise ValueError(f"block_on and review_on both have {', '.join(both)}; leave it in one of them")
        return self

    def asks_for(self, owner: str) -> bool:
        """Whether the fingerprints of this owner count."""
        return self.fingerprint_owners is None or owner in self.fingerprint_owners

    def accepts(self, licence: str) -> bool:
        return ANY_LICENCE in self.accepted_licences or licence in self.accepted_licences


class AuditAnswer(WireAnswer):
    """The decision about an upload. It quotes no found text; the report does."""

    scan_id: str
    model: str
    decision: Decision
    reasons: list[str] = Field(description="Why; one sentence each.")
    licences: list[LicenceMatch] = Field(default=[], description="Fingerprints that the upload carries.")
    verdict: Verdict | None = Field(default=None, description="Verdict of the report; null without a report.")
    hook_id: str | None = Field(default=None, description="The upload hook that started the scan.")
    metadata: dict[str, str] = Field(default={}, description="The metadata of the upload event.")
    links: dict[str, str] = Field(default={}, description="Paths of the service: `self`, `scan`, `report`.")
