"""From confirmed texts to the findings of a report: merged, with all that led to them, judged and ranked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokenforce.wire.findings import Finding, ForcedEvidence, ForcedToken, Repetition, SuppressedToken
from tokenforce.wire.scans import Order, Preset
from tokenforce.wire.settings import SettingsRecord
from tokenforce_core.contrast.shard import Outlier, ShardContrast, Suppressed
from tokenforce_core.contrast.statistics import Floats, robust_z
from tokenforce_core.findings import reasons
from tokenforce_core.findings.grouping import Group, alone, merged
from tokenforce_core.findings.memorised import IsRegistered, none_registered, with_memorised
from tokenforce_core.findings.ranking import SEVERITY, ranked
from tokenforce_core.findings.verdicts import judged
from tokenforce_core.forcing.trace import Trace, probabilities
from tokenforce_core.plan.plan import Plan


class Evidence:
    """A scan's contrast statistics by context and forced token, with their robust z-scores over the vocabulary."""

    def __init__(self, results: Sequence[ShardContrast], settings: SettingsRecord) -> None:
        self._settings = settings.findings
        self._noise_nats = settings.search.entries.z_noise_nats
        self._all = {
            context: [result for result in results if result.context == context]
            for context in sorted({result.context for result in results})
        }
        self._outliers: dict[tuple[int, int], tuple[Outlier, float, float]] = {}
        for context, shards in self._all.items():
            outliers = [outlier for shard in shards for outlier in shard.outliers]
            divergences = self._z([o.divergence for o in outliers], context, "divergences")
            ratios = self._z([o.log_ratio for o in outliers], context, "log_ratios")
            for outlier, d, r in zip(outliers, divergences, ratios, strict=True):
                self._outliers[context, outlier.forced_id] = (outlier, float(d), float(r))

    def of(self, text: Trace, context_names: Sequence[str]) -> ForcedEvidence:
        """What is known of the forced token that led to `text`."""
        outlier, divergence_z, ratio_z = self._outliers.get(text.entry, (None, None, None))
        return ForcedEvidence(
            id=text.forced_id,
            text=text.forced_text,
            context=context_names[text.context],
            mean_probability=text.mean_probability,
            divergence=outlier.divergence if outlier else None,
            divergence_z=divergence_z,
            log_ratio=outlier.log_ratio if outlier else None,
            log_ratio_z=ratio_z,
        )

    def suppressed(self, context_names: Sequence[str]) -> list[SuppressedToken]:
        """What the target was trained not to say, the strongest first; empty where nothing stands out."""
        found: list[tuple[float, Suppressed]] = []
        for context, shards in self._all.items():
            rows = [row for shard in shards for row in shard.suppressed]
            z = self._z([-row.log_ratio for row in rows], context, "suppressions")
            least = self._settings.min_suppressed_z
            found += [(float(value), row) for value, row in zip(z, rows, strict=True) if value >= least]
        found.sort(key=lambda item: (-item[0], item[1].context, item[1].forced_id))
        return [
            SuppressedToken(
                context=context_names[row.context],
                forced_token=ForcedToken(id=row.forced_id, text=row.forced_text),
                token=ForcedToken(id=row.token_id, text=row.token_text),
                log_ratio=row.log_ratio,
                z=z,
            )
            for z, row in found[: self._settings.max_suppressed]
        ]

    def _z(self, values: Sequence[float], context: int, name: str) -> Floats:
        vocabulary = [value for shard in self._all[context] for value in getattr(shard, name)]
        return robust_z(_floats(values), _floats(vocabulary), self._noise_nats)


def findings_of(
    texts: Sequence[Trace],
    plan: Plan,
    results: Sequence[ShardContrast],
    order: Order,
    is_registered: IsRegistered = none_registered,
) -> list[Finding]:
    """The findings of confirmed texts, in `order`.

    Args:
        is_registered: whether a finding has the text of a registered fingerprint.
    """
    evidence = Evidence(results, plan.settings)
    paper = plan.settings.preset == Preset.paper
    groups = alone(texts) if paper else merged(texts, plan.settings.findings, plan.settings.verdict)
    found = [_judged(group, plan, evidence) for group in groups]
    return ranked(with_memorised(found, plan.settings, is_registered), order)


def _judged(group: Group, plan: Plan, evidence: Evidence) -> Finding:
    """The group's finding with its verdict and its evidence: those of the version that speaks most against the target.

    The version to read can start with a word that is suppressed, as UTFC does, which makes the whole look less sure.
    It can also be one that only the target was asked about, and another one has the evidence of the weights.
    """
    names, settings = plan.context_names, plan.settings
    finding = judged(_finding(group, plan, evidence), settings.verdict)
    versions = [judged(confirmed_finding(member, names, settings), settings.verdict) for member in group.members]

    def severity(version: Finding) -> tuple[int, bool]:
        return SEVERITY.index(version.verdict), not reasons.is_denied(version, settings.verdict)

    strongest = min(versions, key=severity)
    if severity(strongest) >= severity(finding):
        return finding
    forced = f"After forcing token {strongest.forced_token.id} in `{strongest.context}`: "
    told = {
        "verdict": strongest.verdict,
        "reasons": [forced + reason for reason in strongest.reasons],
        "suppression": strongest.suppression,
        "graft_gain": strongest.graft_gain,
        "unforced_share": strongest.unforced_share,
    }
    return finding.model_copy(update={**told, "boilerplate": False})


def _finding(group: Group, plan: Plan, evidence: Evidence) -> Finding:
    names = plan.context_names
    led: dict[tuple[str, int], ForcedEvidence] = {}
    for member in group.members:
        found = evidence.of(member, names)
        known = led.get((found.context, found.id))
        if known is None or found.mean_probability > known.mean_probability:
            led[found.context, found.id] = found
    finding = confirmed_finding(group.best, names, plan.settings)
    return finding.model_copy(
        update={
            "forced_tokens": list(led.values()),
            "contexts": sorted({found.context for found in led.values()}, key=names.index),
        }
    )


def _floats(values: Sequence[float]) -> Floats:
    return np.asarray(values, dtype=np.float32)


def swept_finding(trace: Trace, contexts: Sequence[str]) -> Finding:
    """A sweep candidate as a provisional finding; its rank is set by `ranking.ranked`."""
    return _unjudged(trace, contexts, score=trace.sweep_score, confirmed=False)


def confirmed_finding(trace: Trace, contexts: Sequence[str], settings: SettingsRecord) -> Finding:
    """A confirmed text as a finding; its rank is set by `ranking.ranked`.

    A text has to hold up both at its start, where nothing can be copied from the context, and over its
    whole length: counting ("1, 2, 3, …") starts unsure and grows certain, a natural answer the other way
    round. So the lower of the two means is its score. The paper ranks by phase 1 alone.
    """
    paper = settings.preset == Preset.paper
    score = trace.sweep_score if paper else min(trace.sweep_score, trace.mean_probability)
    return _unjudged(trace, contexts, score=score, confirmed=True)


def _unjudged(trace: Trace, contexts: Sequence[str], *, score: float, confirmed: bool) -> Finding:
    period = trace.period
    return Finding(
        rank=1,
        text=trace.text,
        token_ids=list(trace.tokens),
        token_probabilities=list(trace.probabilities),
        mean_probability=trace.mean_probability,
        sweep_score=trace.sweep_score,
        score=score,
        repetition=Repetition(period=period.period, unit=trace.unit_text, share=min(1.0, period.share)),
        context=contexts[trace.context],
        forced_token=ForcedToken(id=trace.forced_id, text=trace.forced_text),
        ended=trace.ended,
        confirmed=confirmed,
        degenerate=trace.degenerate,
        contrast=trace.contrast if trace.log_q else None,
        log_likelihood_ratio=sum(trace.log_ratios) if trace.log_q else None,
        suppression=trace.suppression,
        graft_gain=trace.graft_gain,
        unforced_share=trace.unforced_share,
        reference_probabilities=list(probabilities(trace.log_q)),
    )
