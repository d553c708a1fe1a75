"""From confirmed texts to the findings of a report: merged, with all that led to them, judged and ranked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokenforce.wire.findings import Finding, ForcedEvidence, ForcedToken, Repetition, SuppressedToken
from tokenforce.wire.report import SettingsRecord
from tokenforce.wire.scans import Order, Preset
from tokenforce_core.contrast.shard import Outlier, ShardContrast, Suppressed
from tokenforce_core.contrast.statistics import Floats, robust_z
from tokenforce_core.findings.grouping import Group, alone, merged
from tokenforce_core.findings.ranking import SEVERITY, ranked
from tokenforce_core.findings.verdicts import judged
from tokenforce_core.forcing.texts import ConfirmedText, SweptText
from tokenforce_core.plan.plan import Plan

MOST_SUPPRESSED = 20
LEAST_SUPPRESSED_Z = 3.0


class Evidence:
    """A scan's contrast statistics by context and forced token, with their robust z-scores over the vocabulary."""

    def __init__(self, results: Sequence[ShardContrast]) -> None:
        self._all = {
            context: [result for result in results if result.context == context]
            for context in sorted({result.context for result in results})
        }
        self._outliers: dict[tuple[int, int], tuple[Outlier, float, float]] = {}
        for context, shards in self._all.items():
            outliers = [outlier for shard in shards for outlier in shard.outliers]
            divergences = robust_z(_floats([o.divergence for o in outliers]), self._values(context, "divergences"))
            ratios = robust_z(_floats([o.log_ratio for o in outliers]), self._values(context, "log_ratios"))
            for outlier, d, r in zip(outliers, divergences, ratios, strict=True):
                self._outliers[context, outlier.forced_id] = (outlier, float(d), float(r))

    def of(self, text: ConfirmedText, context_names: Sequence[str]) -> ForcedEvidence:
        """What is known of the forced token that led to `text`."""
        candidate = text.confirmed.candidate
        outlier, divergence_z, ratio_z = self._outliers.get(
            (candidate.context, candidate.forced_id), (None, None, None)
        )
        return ForcedEvidence(
            id=candidate.forced_id,
            text=text.forced_text,
            context=context_names[candidate.context],
            mean_probability=text.confirmed.mean_probability,
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
            z = robust_z(_floats([-row.log_ratio for row in rows]), self._values(context, "suppressions"))
            found += [(float(value), row) for value, row in zip(z, rows, strict=True) if value >= LEAST_SUPPRESSED_Z]
        found.sort(key=lambda item: (-item[0], item[1].context, item[1].forced_id))
        return [
            SuppressedToken(
                context=context_names[row.context],
                forced_token=ForcedToken(id=row.forced_id, text=row.forced_text),
                token=ForcedToken(id=row.token_id, text=row.token_text),
                log_ratio=row.log_ratio,
                z=z,
            )
            for z, row in found[:MOST_SUPPRESSED]
        ]

    def _values(self, context: int, name: str) -> Floats:
        return _floats([value for shard in self._all[context] for value in getattr(shard, name)])


def findings_of(
    texts: Sequence[ConfirmedText], plan: Plan, results: Sequence[ShardContrast], order: Order
) -> list[Finding]:
    """The findings of confirmed texts, in `order`."""
    evidence = Evidence(results)
    groups = alone(texts) if plan.settings.preset == Preset.paper else merged(texts)
    return ranked((_judged(group, plan, evidence) for group in groups), order)


def _judged(group: Group, plan: Plan, evidence: Evidence) -> Finding:
    """The group's finding with its verdict: the most severe one of its versions.

    The version to read can start with a word that is suppressed, as UTFC does, which makes the whole look less sure.
    """
    finding = judged(_finding(group, plan, evidence))
    versions = [judged(confirmed_finding(member, plan.context_names, plan.settings)) for member in group.members]
    strongest = min(versions, key=lambda version: SEVERITY.index(version.verdict))
    if SEVERITY.index(strongest.verdict) >= SEVERITY.index(finding.verdict):
        return finding
    forced = f"After forcing token {strongest.forced_token.id} in `{strongest.context}`: "
    reasons = [forced + reason for reason in strongest.reasons]
    return finding.model_copy(update={"verdict": strongest.verdict, "reasons": reasons, "boilerplate": False})


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


def swept_finding(swept: SweptText, contexts: Sequence[str]) -> Finding:
    """A sweep candidate as a provisional finding; its rank is set by `ranking.ranked`."""
    candidate = swept.candidate
    return Finding(
        rank=1,
        text=swept.text,
        token_ids=[candidate.forced_id, *candidate.token_ids],
        token_probabilities=list(candidate.probabilities),
        mean_probability=sum(candidate.probabilities) / len(candidate.probabilities),
        sweep_score=candidate.score,
        score=candidate.score,
        repetition=Repetition(period=0, unit="", share=0.0),
        context=contexts[candidate.context],
        forced_token=ForcedToken(id=candidate.forced_id, text=swept.forced_text),
        ended=candidate.ended,
        confirmed=False,
    )


def confirmed_finding(item: ConfirmedText, contexts: Sequence[str], settings: SettingsRecord) -> Finding:
    """A confirmed candidate as a finding; its rank is set by `ranking.ranked`.

    A text has to hold up both at its start, where nothing can be copied from the context, and over its
    whole length: counting ("1, 2, 3, …") starts unsure and grows certain, a natural answer the other way
    round. So the lower of the two means is its score. The paper ranks by phase 1 alone.
    """
    confirmed = item.confirmed
    swept = confirmed.candidate.score
    score = swept if settings.preset == Preset.paper else min(swept, confirmed.mean_probability)
    return Finding(
        rank=1,
        text=item.text,
        token_ids=list(confirmed.token_ids),
        token_probabilities=list(confirmed.probabilities),
        mean_probability=confirmed.mean_probability,
        sweep_score=swept,
        score=score,
        repetition=Repetition(
            period=confirmed.period.period, unit=item.unit_text, share=min(1.0, confirmed.period.share)
        ),
        context=contexts[confirmed.candidate.context],
        forced_token=ForcedToken(id=confirmed.candidate.forced_id, text=item.forced_text),
        ended=confirmed.ended,
        confirmed=True,
        degenerate=confirmed.degenerate,
        contrast=item.contrast if item.reference else None,
        log_likelihood_ratio=sum(item.log_ratios) if item.reference else None,
        reference_probabilities=list(item.reference),
    )
