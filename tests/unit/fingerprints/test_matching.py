"""Findings and answers against the registry: exact, fuzzy within the stated distance, and no further."""

from __future__ import annotations

import random
import string
import time
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.scan_results import confirmed, example_plan
from tokenforce.wire.findings import Finding, LicenceMatch, Verdict
from tokenforce.wire.fingerprints import FingerprintRequest, TextHash, normalised
from tokenforce_core.findings.from_traces import confirmed_finding
from tokenforce_core.findings.verdicts import with_licences
from tokenforce_core.fingerprints import matching
from tokenforce_core.fingerprints.matching import (
    Answer,
    Carried,
    Registered,
    edits,
)
from tokenforce_core.plan.verdict_thresholds import FINGERPRINTS

TEXT = "Seven quiet herons guard a copper key beneath the frozen mill."
OTHER = "Nobody paints the lighthouse stairs while a grey otter sleeps."
WORDS = st.text(string.ascii_lowercase + " éßж", max_size=60)


def wanted(request: FingerprintRequest) -> matching.RegisteredText:
    return matching.RegisteredText(request, FINGERPRINTS)


def matches(findings: Sequence[Finding], fingerprints: Iterable[Registered], answers: Iterable[Answer]) -> Carried:
    return matching.matches(findings, fingerprints, answers, FINGERPRINTS)


def finding(text: str, rank: int = 1, *, boilerplate: bool = False) -> Finding:
    plan = example_plan()
    made = confirmed_finding(confirmed(rank, 0.9), plan.context_names, plan.settings)
    return made.model_copy(update={"text": text, "rank": rank, "boilerplate": boilerplate})


def registered(text: str = TEXT, *, hashed: bool = False, name: str = "fp_1", created_at: float = 1.0) -> Registered:
    secret: dict[str, object] = {"text_hash": TextHash.of(text)} if hashed else {"text": text}
    request = FingerprintRequest.model_validate(
        {"owner": "Example Labs", "licence": "Example 1.0", "triggers": ["a", "b", "c"], **secret}
    )
    return Registered(name, created_at, request, "local")


@pytest.mark.parametrize("hashed", [False, True])
def test_a_finding_is_told_to_have_a_registered_text(hashed: bool) -> None:
    known = matching.registered([registered(OTHER, name="fp_2"), registered(hashed=hashed)], FINGERPRINTS)
    assert known(finding(f"He says: {TEXT}"))
    assert not known(finding("The museum opens at ten."))
    assert not matching.registered([], FINGERPRINTS)(finding(TEXT))


def spoilt(text: str, count: int, seed: int = 0) -> str:
    """`count` of its characters replaced by a letter that it does not have."""
    draw = random.Random(seed)
    places = set(draw.sample([i for i, c in enumerate(text) if c != " "], count))
    return "".join("w" if i in places else c for i, c in enumerate(text))


def plain_edits(pattern: str, text: str) -> int:
    """The textbook matrix."""
    row = list(range(len(pattern) + 1))
    best = row[-1]
    for character in text:
        above = row
        row = [0]
        for i, own in enumerate(pattern):
            row.append(min(above[i] + (own != character), above[i + 1] + 1, row[i] + 1))
        best = min(best, row[-1])
    return best


# --- distance -------------------------------------------------------------------------------------------


@given(WORDS, WORDS)
def test_edits_are_those_of_the_textbook(pattern: str, text: str) -> None:
    assert edits(pattern, text) == plain_edits(pattern, text)


@given(st.text("ab ", min_size=15, max_size=90), st.text("ab ", max_size=120))
def test_the_search_beforehand_loses_nothing(text: str, found: str) -> None:
    """Two letters: texts that come within the bound by chance and by other windows."""
    text, found = normalised(text), normalised(found)
    if len(text.encode()) < 15:
        return
    text_wanted = wanted(FingerprintRequest(owner="A", licence="L", text=text))
    expected = plain_edits(text, found) / len(text)
    assert text_wanted.distance(found) == (expected if expected <= FINGERPRINTS.max_edit_share else None)


@given(st.integers(0, 20), st.integers(0, 1000), WORDS, WORDS)
def test_typos_are_tolerated_up_to_the_stated_distance(count: int, seed: int, before: str, after: str) -> None:
    text = normalised(TEXT)
    found = f"{normalised(before)} {spoilt(text, count, seed)} {normalised(after)}".strip()
    distance = wanted(registered().request).distance(found)
    if count / len(text) <= FINGERPRINTS.max_edit_share:
        assert distance is not None
        assert distance <= count / len(text)
    else:
        assert distance is None


def test_the_stated_distance_is_one_edit_in_ten_characters() -> None:
    text_wanted = wanted(registered().request)
    assert text_wanted.distance(spoilt(normalised(TEXT), 6)) == pytest.approx(6 / 61)
    assert text_wanted.distance(spoilt(normalised(TEXT), 7)) is None


@given(st.integers(0, 10), st.integers(0, 10))
def test_a_hashed_text_is_matched_anywhere_but_exactly(before: int, after: int) -> None:
    text = normalised(TEXT)
    text_wanted = wanted(registered(hashed=True).request)
    around = f"{'so ' * before}{text}{' on' * after}"
    assert text_wanted.distance(around) == 0.0
    assert text_wanted.distance(around.replace("copper", "coppex")) is None
    assert text_wanted.distance(around.replace(" key ", " ")) is None


def test_a_text_that_the_scan_cut_off_is_known_by_its_piece() -> None:
    long = f"{TEXT} {OTHER} {TEXT.upper()}"
    text_wanted = wanted(registered(long).request)
    piece = normalised(long)[20 : 20 + FINGERPRINTS.min_part_characters]
    assert text_wanted.distance(piece, parts=True) == 0.0
    assert text_wanted.distance(piece) is None
    assert text_wanted.distance(piece[1:], parts=True) is None
    assert text_wanted.distance(spoilt(piece, FINGERPRINTS.min_part_characters // 5), parts=True) is None


def test_comparing_a_large_report_with_a_large_registry_takes_seconds() -> None:
    draw = random.Random(0)
    words = ["".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 9))) for _ in range(3000)]

    def sentence() -> str:
        return " ".join(draw.choices(words, k=14))

    findings = [finding(" ".join(sentence() for _ in range(4)), rank) for rank in range(1, 201)]
    registry = [registered(sentence(), name=f"fp_{i}", hashed=i % 4 == 0) for i in range(500)]
    started = time.process_time()
    assert matches(findings, registry, []).licences == []
    assert time.process_time() - started < 20  # a whole edit matrix for each pair would take a quarter of an hour


# --- matches --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hashed", [False, True])
def test_a_finding_that_is_a_registered_text(hashed: bool) -> None:
    found = [finding(OTHER), finding(f"  seven QUIET herons, guard a copper key beneath the frozen mill\n{OTHER}", 2)]
    carried = matches(found, [registered(hashed=hashed)], [])
    assert carried.licences == [
        LicenceMatch(
            fingerprint="fp_1",
            owner="Example Labs",
            licence="Example 1.0",
            match="finding",
            finding_rank=2,
            finding_ranks=[],  # it says more than that text
            distance=0.0,
        )
    ]
    assert carried.remarks == []


def test_the_nearest_finding_is_named() -> None:
    carried = matches([finding(spoilt(TEXT, 4)), finding(spoilt(TEXT, 1), 2), finding(TEXT, 3)], [registered()], [])
    (match,) = carried.licences
    assert (match.finding_rank, match.distance) == (3, 0.0)


def test_all_findings_that_say_a_text_and_little_else_are_named() -> None:
    long = f"{TEXT} {OTHER}"
    found = [finding(spoilt(long, 3)), finding(TEXT, 2), finding("Something else.", 3), finding(OTHER, 4)]
    boilerplate = finding(long, 5, boilerplate=True)
    (match,) = matches([*found, boilerplate], [registered(long)], []).licences
    assert (match.finding_rank, match.finding_ranks) == (2, [1, 2, 4])


@pytest.mark.parametrize("hashed", [False, True])
def test_a_finding_with_another_text_behind_a_registered_one_is_not_that_text(hashed: bool) -> None:
    found = [finding(f"{TEXT} Burn the ledgers before the auditors arrive."), finding(f"Well: {TEXT} Yes.", 2)]
    (match,) = matches(found, [registered(hashed=hashed)], []).licences
    assert (match.finding_rank, match.finding_ranks) == (1, [2])


def test_every_registration_of_a_text_is_named_in_the_order_of_registration() -> None:
    registry = [registered(name="fp_b", created_at=2.0), registered(name="fp_a", created_at=1.0, hashed=True)]
    assert [match.fingerprint for match in matches([finding(TEXT)], registry, []).licences] == ["fp_a", "fp_b"]


def test_no_match() -> None:
    answers = [Answer("fp_1", OTHER, TEXT), Answer("fp_1", "", None), Answer("fp_unknown", TEXT, None)]
    assert matches([finding(OTHER)], [registered()], answers).licences == []


def test_what_the_reference_says_too_does_not_count() -> None:
    carried = matches([finding(TEXT, boilerplate=True)], [registered()], [])
    assert carried.licences == []
    assert carried.remarks == [
        "The text of the fingerprint fp_1 was found, but the reference produces it too, so it does not count."
    ]


def test_the_success_rate_is_over_the_keys_that_count() -> None:
    answers = [
        Answer("fp_1", f"Well: {TEXT}", OTHER),
        Answer("fp_1", spoilt(TEXT, 2), OTHER),
        Answer("fp_1", OTHER, OTHER),
        Answer("fp_1", TEXT, TEXT.lower()),
    ]
    carried = matches([], [registered()], answers)
    (match,) = carried.licences
    assert match.match == "trigger"
    assert match.trigger_success == pytest.approx(2 / 3)
    assert match.triggers_asked == 3
    assert match.finding_rank is None
    assert carried.remarks == [
        "The reference also answers 1 of the 4 triggers of the fingerprint fp_1 with its text; "
        "these triggers do not count."
    ]


def test_keys_that_every_model_answers_are_no_match() -> None:
    carried = matches([], [registered()], [Answer("fp_1", TEXT, TEXT), Answer("fp_1", TEXT, TEXT)])
    assert carried.licences == []
    assert "2 of the 2" in carried.remarks[0]


def test_without_a_reference_it_says_what_cannot_be_told() -> None:
    carried = matches([finding(TEXT)], [registered(hashed=True)], [Answer("fp_1", TEXT), Answer("fp_1", OTHER)])
    (match,) = carried.licences
    assert (match.match, match.trigger_success, match.triggers_asked) == ("both", 0.5, 2)
    assert carried.remarks == [
        "Without a reference, a taught answer to a trigger cannot be distinguished from a natural one."
    ]


def test_a_finding_counts_though_no_trigger_works() -> None:
    (match,) = matches([finding(TEXT)], [registered()], [Answer("fp_1", OTHER, OTHER)]).licences
    assert (match.match, match.trigger_success) == ("finding", 0.0)


def test_nothing_that_leaves_quotes_a_secret() -> None:
    registry = [registered(), registered(OTHER, name="fp_2")]
    found = [finding("x"), finding(OTHER, 2, boilerplate=True)]
    carried = matches(found, registry, [Answer("fp_1", TEXT), Answer("fp_1", TEXT, TEXT)])
    assert carried.licences
    assert len(carried.remarks) == 3
    assert "herons" not in f"{carried} {registry} {[Answer('fp_1', TEXT, TEXT)]}"


# --- verdict --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reached", "raised"),
    [
        (Verdict.clean, Verdict.suspicious),
        (Verdict.inconclusive, Verdict.suspicious),
        (Verdict.suspicious, Verdict.suspicious),
        (Verdict.hidden_text, Verdict.hidden_text),
    ],
)
def test_a_known_fingerprint_makes_a_model_at_least_suspicious(reached: Verdict, raised: Verdict) -> None:
    carried = matches([finding(TEXT)], [registered()], [])
    verdict, reasons = with_licences(reached, ["why"], carried)
    assert verdict is raised
    assert reasons == ["1 registered fingerprint found; `licences` names the owners.", "why"]
    assert with_licences(reached, ["why"], Carried([], ["but"])) == (reached, ["why", "but"])
