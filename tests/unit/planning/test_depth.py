"""How deep a scan looks, and in which contexts it forces the vocabulary."""

from __future__ import annotations

import pytest

from tests.support.scan_results import NO_FILES
from tokenforce.wire.report import ContextRecord, ReferenceRecord
from tokenforce.wire.scans import Depth, Preset, ScanRequest
from tokenforce_core.plan.plan import ReferencePlan
from tokenforce_service.planning.depth import depth_of, forced_contexts

REFERENCE = ReferencePlan(
    record=ReferenceRecord(model="/models/base", digest="sha256:00", source="request", vocabulary_size=64),
    path="/models/base",
    hashed=NO_FILES,
)
DRAWN = [ContextRecord(name=f"drawn-code-{number}", ids=[number], text="", aligned=False) for number in (1, 2, 3)]
BOS, ASSISTANT, FIRST_DRAWN = 0, 1, 2


def request(**options: object) -> ScanRequest:
    return ScanRequest.model_validate({"model": "/models/m", **options})


@pytest.mark.parametrize(
    ("asked", "reference", "depth"),
    [
        (request(), REFERENCE, Depth.standard),
        (request(depth="quick"), REFERENCE, Depth.quick),
        (request(depth="thorough"), REFERENCE, Depth.thorough),
        (request(), None, Depth.thorough),
        (request(depth="standard"), None, Depth.thorough),
        (request(preset=Preset.paper), REFERENCE, Depth.thorough),
    ],
)
def test_the_depth_of_a_scan(asked: ScanRequest, reference: ReferencePlan | None, depth: Depth) -> None:
    assert depth_of(asked, reference, DRAWN) is depth


@pytest.mark.parametrize(
    ("depth", "asked", "places"),
    [
        (Depth.quick, request(), []),
        (Depth.standard, request(), [ASSISTANT, FIRST_DRAWN]),
        (Depth.standard, request(contexts=["bos", "assistant"]), [BOS, ASSISTANT, FIRST_DRAWN]),
        (Depth.thorough, request(), [BOS, ASSISTANT]),
    ],
)
def test_contexts_in_which_the_vocabulary_is_forced(depth: Depth, asked: ScanRequest, places: list[int]) -> None:
    assert forced_contexts(depth, asked, 2) == places


def test_a_model_without_a_chat_template_is_forced_after_bos_and_in_a_drawn_context() -> None:
    assert forced_contexts(Depth.standard, request(), 1) == [0, 1]


def test_where_no_context_could_be_drawn_the_scan_is_thorough() -> None:
    """An upload can cause it, by other ids for its tokens, and a defence is trained on known contexts."""
    assert depth_of(request(), REFERENCE, []) is Depth.thorough
    assert depth_of(request(depth="quick"), REFERENCE, []) is Depth.quick  # which the planner refuses
