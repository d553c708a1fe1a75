"""Wire types of the audit: from a verdict to what a marketplace should do with an upload."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from tokenforce.wire.base import WireAnswer, WireRequest
from tokenforce.wire.findings import LicenceMatch, Verdict

ANY_LICENCE = "any"


class Decision(StrEnum):
    """`could_not_scan` is never a synonym of `allow`."""

    allow = "allow"
    review = "review"
    block = "block"
    could_not_scan = "could_not_scan"


class Ground(StrEnum):
    """What can speak against an upload. `licence`: it carries a registered text whose licence is not accepted."""

    hidden_text = "hidden_text"
    suspicious = "suspicious"
    licence = "licence"


class AuditRules(WireRequest):
    """What follows from what was found."""

    accepted_licences: list[str] = Field(
        default=[],
        max_length=200,
        description="Licences, as registered with fingerprints, that an upload may carry; `any`: every one. A "
        "text that is found of these counts for nothing else either.",
    )
    fingerprint_owners: list[str] | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Owners, as registered with fingerprints, whose fingerprints count; default: everybody's.",
    )
    block_on: list[Ground] = Field(default=[Ground.hidden_text], description="Each of these blocks.")
    review_on: list[Ground] = Field(
        default=[Ground.suspicious, Ground.licence], description="Each of these asks for a person, if nothing blocks."
    )

    @model_validator(mode="after")
    def _one_answer_each(self) -> AuditRules:
        if both := sorted(set(self.block_on) & set(self.review_on)):
            raise ValueError(f"block_on and review_on both have {', '.join(both)}; leave it in one of them")
        return self

    def asks_for(self, owner: str) -> bool:
        """Whether fingerprints registered for this owner count."""
        return self.fingerprint_owners is None or owner in self.fingerprint_owners

    def accepts(self, licence: str) -> bool:
        return ANY_LICENCE in self.accepted_licences or licence in self.accepted_licences


class AuditAnswer(WireAnswer):
    """What to do with an upload. Quotes no text that was found: the report does."""

    scan_id: str
    model: str
    decision: Decision
    reasons: list[str] = Field(description="Why, one sentence each.")
    licences: list[LicenceMatch] = Field(default=[], description="Registered fingerprints that the upload carries.")
    verdict: Verdict | None = Field(default=None, description="The report's; None without one.")
    hook_id: str | None = Field(default=None, description="The hook that started the scan.")
    metadata: dict[str, str] = Field(default={}, description="As the upload hook's sender gave it.")
    links: dict[str, str] = Field(default={}, description="Paths at the service: `self`, `scan`, `report`.")
