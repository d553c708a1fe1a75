"""Where the search by contrast begins: at the links of a scan."""

from __future__ import annotations

from collections.abc import Sequence

from tokenforce_core.contrast.shard import ShardContrast
from tokenforce_core.contrast.trace import Seed, Traced


def linked(results: Sequence[ShardContrast]) -> list[Traced]:
    """The links of every context, as starts that have their second token already."""
    return [
        Traced(Seed(link.context, link.forced_id), (link.next_id,), (link.target,), (link.reference,))
        for result in results
        for link in result.links
    ]
