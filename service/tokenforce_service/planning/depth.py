"""How deep a scan looks, and in which contexts it forces the whole vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

from tokenforce.wire.report import ContextRecord
from tokenforce.wire.scans import Depth, Preset, ScanRequest
from tokenforce_core.plan.plan import ReferencePlan


def depth_of(request: ScanRequest, reference: ReferencePlan | None, drawn: Sequence[ContextRecord]) -> Depth:
    """The depth of a scan: what the request says, as far as it can be done.

    Without a reference nothing can be compared, and the preset `paper` is a sweep: both are `thorough`. So is a scan
    for which no context could be drawn: `standard` would look in known contexts only, and an upload can cause that.
    """
    if reference is None or request.preset == Preset.paper:
        return Depth.thorough
    asked = request.depth or Depth.standard
    return asked if drawn or asked is Depth.quick else Depth.thorough


def forced_contexts(depth: Depth, request: ScanRequest, own: int) -> list[int]:
    """Places of the contexts in which the vocabulary is forced: in the scan's contexts, and after them the drawn ones.

    `standard` forces it in the last of the default contexts, the chat template's if there is one, because `bos` finds
    nothing beyond that; and in a drawn one, where a text that is suppressed in known contexts is not. Of contexts that
    the request names none is left out.

    Args:
        own: number of the scan's contexts.
    """
    if depth is Depth.quick:
        return []
    if depth is Depth.thorough:
        return list(range(own))
    named = range(own) if request.contexts else [own - 1]
    return [*named, own]
