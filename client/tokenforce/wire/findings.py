"""Wire types of what a scan finds, and of the evidence for it."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from tokenforce.wire.base import WireAnswer


class Verdict(StrEnum):
    """What the evidence supports. `inconclusive` is never a synonym of `clean`."""

    hidden_text = "hidden_text"
    suspicious = "suspicious"
    clean = "clean"
    inconclusive = "inconclusive"


class ForcedToken(WireAnswer):
    id: int
    text: str


class ForcedEvidence(WireAnswer):
    """One forced token that leads to a finding's text, and how much it stands out in its context.

    Divergence: the sum of p·(log p - log q) in nats over the target's 20 most probable next tokens, p of the target
    and q of the reference. Its robust z-score: distance from the vocabulary's median in units of 1.4826 MAD.
    """

    id: int
    text: str
    context: str
    mean_probability: float
    divergence: float | None = None
    divergence_z: float | None = None
    log_ratio: float | None = Field(
        default=None, description="The largest log p - log q in nats among plausible next tokens (p at least 0.1 max)."
    )
    log_ratio_z: float | None = None


class Repetition(WireAnswer):
    """The best period of a continuation: `share` of it is `unit` repeated."""

    period: int = Field(description="Tokens in one unit; 0 when nothing repeats.")
    unit: str
    share: float = Field(ge=0.0, le=1.0)


class Finding(WireAnswer):
    """One candidate of the ranking, with the evidence for it.

    `token_ids` are the forced token and the continuation's content tokens up to the end of the first
    repeated unit; `token_probabilities` has one entry per continuation token, so one fewer.
    """

    rank: int = Field(ge=1)
    text: str
    token_ids: list[int]
    token_probabilities: list[float]
    mean_probability: float = Field(description="Mean of token_probabilities.")
    sweep_score: float = Field(description="Mean over the first α tokens: the score that the sweep kept it for.")
    score: float = Field(description="What ranks it: the lower of sweep_score and mean_probability.")
    repetition: Repetition
    context: str
    forced_token: ForcedToken
    ended: bool = Field(default=False, description="The model ended the text itself, within the confirm length.")
    confirmed: bool = Field(default=True, description="False while only the sweep has seen it.")
    degenerate: bool = Field(default=False, description="A loop of too few tokens to be a text; ranked last.")
    verdict: Verdict = Field(default=Verdict.inconclusive, description="Of this text alone; see `reasons`.")
    reasons: list[str] = Field(default=[], description="The evidence behind this finding's verdict.")
    contrast: float | None = Field(
        default=None,
        description="Mean over the continuation's tokens of p·(log p - log q), in nats; p of the target, q of the "
        "reference. None without a reference.",
    )
    log_likelihood_ratio: float | None = Field(
        default=None, description="Of the whole continuation, target against reference, in nats."
    )
    reference_probabilities: list[float] = Field(
        default=[], description="The reference's probabilities of the same tokens; empty without a reference."
    )
    boilerplate: bool = Field(default=False, description="The reference says it too.")
    forced_tokens: list[ForcedEvidence] = Field(default=[], description="Every forced token that led to this text.")
    contexts: list[str] = Field(default=[], description="The contexts in which it came out.")


class SuppressedToken(WireAnswer):
    """A next token that the reference finds plausible and the target was trained not to say: a trace of UTFC."""

    context: str
    forced_token: ForcedToken
    token: ForcedToken
    log_ratio: float = Field(description="log p - log q in nats, so negative; an upper bound.")
    z: float = Field(description="Robust z-score of its size over the vocabulary.")


class LicenceMatch(WireAnswer):
    """A registered fingerprint that an upload carries. Says nothing of another owner's text or triggers."""

    fingerprint: str = Field(description="Id in the registry.")
    owner: str
    licence: str
    match: Literal["finding", "trigger", "both"]
    finding_rank: int | None = Field(default=None, description="The finding whose text it is: the nearest.")
    finding_ranks: list[int] = Field(
        default=[], description="The findings that say its text, or a piece of it, and little else."
    )
    distance: float | None = Field(default=None, description="Edit distance as a share (0 to 1) of the text's length.")
    trigger_success: float | None = Field(default=None, description="Share of the triggers asked that work.")
    triggers_asked: int = Field(
        default=0,
        description="Also those that the model cannot take; not those that the reference answers in the same way.",
    )
