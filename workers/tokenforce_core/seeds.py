"""Where the search by contrast begins: at the links of a scan, and at what leads into a text that it has found."""

from __future__ import annotations

from collections.abc import Sequence

from tokenforce_core.contrast_shard import ShardContrast
from tokenforce_core.links import Link
from tokenforce_core.traced import Seed, Traced

STRONG = 1.5
"""Contrast score (nats per token) from which a text is worth looking for what else leads into it."""
MOST_GROWN = 32


def linked(results: Sequence[ShardContrast]) -> list[Traced]:
    """The links of every context, as starts that have their second token already."""
    return [_start(link) for result in results for link in result.links]


def leading_in(traced: Sequence[Traced], results: Sequence[ShardContrast]) -> list[Traced]:
    """Starts after which the target expects the forced token or first token of a strong text, other than its own.

    This grows a text to the left: a text that was entered in its middle has its earlier tokens among them.
    """
    strong = [text for text in traced if text.score >= STRONG]
    beginnings = {token_id for text in strong for token_id in (text.seed.forced_id, *text.ids[:1])}
    tried = {text.seed for text in strong}
    starts = {_start(link) for result in results for link in result.links if link.next_id in beginnings}
    left = [start for start in starts if start.seed not in tried]
    return sorted(left, key=lambda s: (s.reference[0] - s.target[0], s.seed.context, s.seed.forced_id))[:MOST_GROWN]


def _start(link: Link) -> Traced:
    return Traced(Seed(link.context, link.forced_id), (link.next_id,), (link.target,), (link.reference,))
