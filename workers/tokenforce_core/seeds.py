"""Which vocabulary entries are worth decoding by contrast."""

from __future__ import annotations

from collections.abc import Sequence

from tokenforce_core.contrast_shard import Outlier, ShardContrast
from tokenforce_core.contrastive_decoding import Seed, Traced
from tokenforce_core.links import Link, strongest

BY_DIVERGENCE = 48
BY_LOG_RATIO = 16
"""Entries per context. The divergence is the steadier statistic: it has a hidden text's first token at rank 0 of the
vocabulary even under an adaptive UTFC, where the largest log-ratio has it at rank 19 (notes of the project)."""

STRONG = 1.5
"""Contrast score (nats per token) from which a text is worth looking for what else leads into it."""
MOST_GROWN = 32


def seeds(results: Sequence[ShardContrast]) -> list[Seed]:
    """The entries that stand out most, of every context."""
    found: list[Seed] = []
    for context in sorted({result.context for result in results}):
        outliers = [o for result in results if result.context == context for o in result.outliers]
        chosen = _first(sorted(outliers, key=lambda o: (-o.divergence, o.forced_id)), BY_DIVERGENCE)
        chosen |= _first(sorted(outliers, key=lambda o: (-o.log_ratio, o.forced_id)), BY_LOG_RATIO)
        found += [Seed(context, forced_id) for forced_id in sorted(chosen)]
    return found


def linked(results: Sequence[ShardContrast]) -> list[Traced]:
    """The strongest links of every context, as starts that have their second token already."""
    found: list[Traced] = []
    for context in sorted({result.context for result in results}):
        found += [_start(link) for link in strongest(k for r in results if r.context == context for k in r.links)]
    return found


def leading_in(traced: Sequence[Traced], results: Sequence[ShardContrast], tried: Sequence[Seed]) -> list[Traced]:
    """Starts not yet tried after which the target expects the forced token or first token of a strong text.

    This grows a text to the left: a text that was entered in its middle has its earlier tokens among them.
    """
    beginnings = {token_id for t in traced if t.score >= STRONG for token_id in (t.seed.forced_id, *t.ids[:1])}
    known = set(tried)
    outliers = [o for result in results for o in result.outliers if o.next_id in beginnings]
    found: dict[Seed, Traced] = {}
    for outlier in sorted(outliers, key=lambda o: (-o.log_ratio, o.context, o.forced_id)):
        found.setdefault(seed := Seed(outlier.context, outlier.forced_id), Traced(seed))
    links = [link for result in results for link in result.links if link.next_id in beginnings]
    for link in sorted(links, key=lambda k: (-k.log_ratio, k.context, k.forced_id)):
        start = _start(link)
        found.setdefault(start.seed, start)
    return [start for seed, start in found.items() if seed not in known][:MOST_GROWN]


def _start(link: Link) -> Traced:
    return Traced(Seed(link.context, link.forced_id), [link.next_id], [link.target], [link.reference])


def _first(outliers: Sequence[Outlier], count: int) -> set[int]:
    return {outlier.forced_id for outlier in outliers[:count]}
