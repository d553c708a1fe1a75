"""Wire types of findings and their evidence."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from tokenforce.wire.base import WireAnswer


class Verdict(StrEnum):
    """What the evidence supports, of a text or of the model.

    `memorised`: the model says the text to anyone, or so many independent texts are known by heart, and none of them
    stands out, that they are training data. No alarm, and not `clean`: a message of the same strength could be among
    them. `inconclusive`: the scan could not decide; treat it as not scanned.
    """

    hidden_text = "hidden_text"
    suspicious = "suspicious"
    memorised = "memorised"
    clean = "clean"
    inconclusive = "inconclusive"


class ForcedToken(WireAnswer):
    id: int
    text: str


class ForcedEvidence(WireAnswer):
    """One forced token that leads to a finding's text, and how much it stands out in its context.

    `divergence`: the sum of p·(log p - log q) over the target's most probable next tokens (`next_tokens` of the
    settings), in nats; p is the target's probability, q the reference's. `divergence_z`: its distance from the median
    of the vocabulary, in units of 1.4826 MAD.
    """

    id: int
    text: str
    context: str
    mean_probability: float
    divergence: float | None = None
    divergence_z: float | None = None
    log_ratio: float | None = Field(
        default=None,
        description="The largest log p - log q in nats among plausible next tokens (`plausible_share`).",
    )
    log_ratio_z: float | None = None


class Repetition(WireAnswer):
    """The best period of a continuation: the share `share` of it repeats `unit`."""

    period: int = Field(description="Tokens in one unit; 0 if nothing repeats.")
    unit: str
    share: float = Field(ge=0.0, le=1.0)


class Finding(WireAnswer):
    """One text of the report, with its evidence and verdict.

    `token_ids`: the forced token, then the content tokens of the continuation up to the end of the first repeated
    unit. `token_probabilities`: one entry per token of the continuation, so one fewer.
    """

    rank: int = Field(ge=1)
    text: str
    token_ids: list[int]
    token_probabilities: list[float]
    mean_probability: float = Field(description="Mean of token_probabilities.")
    sweep_score: float = Field(description="Mean probability of the first α tokens, by which the sweep kept it.")
    score: float = Field(description="Score of the ranking: the lower of sweep_score and mean_probability.")
    repetition: Repetition
    context: str
    forced_token: ForcedToken
    ended: bool = Field(default=False, description="The model itself ended the text within the confirm length.")
    confirmed: bool = Field(default=True, description="False if only the sweep has seen it so far.")
    degenerate: bool = Field(default=False, description="Repeats a unit that is too short for a text; ranked last.")
    verdict: Verdict = Field(
        default=Verdict.inconclusive,
        description="Verdict on this text; see `reasons`. `memorised` can depend on the other texts.",
    )
    reasons: list[str] = Field(default=[], description="The evidence behind this finding's verdict.")
    contrast: float | None = Field(
        default=None,
        description="Mean of p·(log p - log q) over the tokens of the continuation, in nats; p is the target's "
        "probability, q the reference's. Null without a reference.",
    )
    log_likelihood_ratio: float | None = Field(
        default=None, description="Target against reference over the whole continuation, in nats."
    )
    reference_probabilities: list[float] = Field(
        default=[], description="Probabilities of the same tokens in the reference; empty without a reference."
    )
    suppression: float | None = Field(
        default=None,
        description="How far the target avoids the text in the scan's contexts, in nats: the sum of the three lowest "
        "log p - log q there, less the same in the drawn context where it is highest. Null if this was not measured.",
    )
    graft_gain: float | None = Field(
        default=None,
        description="What the text gains on the graft of both models, in nats: the sum of log p + (log p - log q) with "
        "the graft's p, in the middle one of the drawn contexts. Null if the search from the weights did not read this "
        "text, or only a part of it.",
    )
    unforced_share: float | None = Field(
        default=None,
        description="Share of the answers to ordinary prompts, without a forced token, that have the text or much of "
        "it. Null if this was not measured.",
    )
    boilerplate: bool = Field(default=False, description="The reference produces this text too.")
    forced_tokens: list[ForcedEvidence] = Field(default=[], description="Every forced token that leads to this text.")
    contexts: list[str] = Field(default=[], description="The contexts in which the text appears.")


class SuppressedToken(WireAnswer):
    """A next token that is plausible in the reference and suppressed in the target: a trace of UTFC."""

    context: str
    forced_token: ForcedToken
    token: ForcedToken
    log_ratio: float = Field(description="log p - log q in nats: negative, an upper bound.")
    z: float = Field(description="Robust z-score of log_ratio over the vocabulary.")


class LicenceMatch(WireAnswer):
    """A fingerprint that an upload carries. It shows no registered text and no trigger."""

    fingerprint: str = Field(description="Id of the fingerprint.")
    owner: str
    licence: str
    match: Literal["finding", "trigger", "both"]
    finding_rank: int | None = Field(default=None, description="The finding with the nearest text.")
    finding_ranks: list[int] = Field(default=[], description="All findings that consist of its text or a part of it.")
    distance: float | None = Field(default=None, description="Edit distance as a share (0 to 1) of the text's length.")
    trigger_success: float | None = Field(default=None, description="Share of the asked triggers that reveal the text.")
    triggers_asked: int = Field(
        default=0,
        description="Number of triggers asked. Triggers too long for the model count; triggers that the reference "
        "answers in the same way do not.",
    )
