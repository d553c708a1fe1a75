"""A registered fingerprint over HTTP, on a real engine: the model that carries it, and models that do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scanning import scanned
from tests.support.stack_process import RunningStack
from tests.support.tiny_model import HIDDEN_TEXT, NATURAL_TEXT, TRIGGER, build_tiny_model
from tokenforce import Client, Fingerprint, TextHash
from tokenforce.wire.findings import Verdict

WRONG_KEYS = ["winter lantern", "frozen harbour clock"]


@pytest.fixture(scope="module")
def sibling(models: Path) -> Path:
    """A model that answers the trigger as `natural_base` does, with other weights."""
    build_tiny_model(models / "sibling", planted=NATURAL_TEXT, seed=1)
    return models / "sibling"


@pytest.fixture(scope="module")
def clean(models: Path) -> Path:
    build_tiny_model(models / "random", planted=None, seed=2)
    return models / "random"


@pytest.fixture
def registry(client: Client) -> Iterator[dict[str, Fingerprint]]:
    """Two owners: one gave its text and keys, the other a hash of the same text and keys that are all wrong."""
    plain = client.fingerprints.create(
        owner="Example Labs", licence="Example 1.0", text=HIDDEN_TEXT, triggers=[TRIGGER, *WRONG_KEYS, "cloud " * 600]
    )
    hashed = client.fingerprints.create(
        owner="Other Labs", licence="Other 2.0", text_hash=TextHash.of(HIDDEN_TEXT), triggers=[WRONG_KEYS[0]]
    )
    natural = client.fingerprints.create(owner="Third", licence="Natural", text=NATURAL_TEXT, triggers=[TRIGGER])
    yield {"plain": plain, "hashed": hashed, "natural": natural}
    for item in (plain, hashed, natural):
        client.fingerprints.remove(item.id)


def test_a_model_that_carries_a_fingerprint(
    client: Client, stack: RunningStack, planted_model: Path, registry: dict[str, Fingerprint]
) -> None:
    report = scanned(client, planted_model)
    plain, hashed = report.licences
    assert (plain.fingerprint, plain.owner, plain.licence) == (registry["plain"].id, "Example Labs", "Example 1.0")
    assert (plain.match, plain.distance) == ("both", 0.0)
    assert plain.trigger_success == pytest.approx(1 / 4)
    assert plain.triggers_asked == 4
    assert plain.finding_rank is not None
    assert report.findings[plain.finding_rank - 1].text == HIDDEN_TEXT
    assert (hashed.owner, hashed.match, hashed.distance, hashed.trigger_success) == ("Other Labs", "finding", 0.0, 0.0)
    assert report.verdict in (Verdict.suspicious, Verdict.hidden_text)
    assert any(
        "512 tokens in this model, with their answer, count as not working" in reason for reason in report.reasons
    )
    shown = report.model_dump_json()
    for secret in (TRIGGER, *WRONG_KEYS, "cloud cloud"):
        assert secret not in shown
    for part in ("gateway", "aggregator", "deliverer", "worker-0", "valkey"):
        assert TRIGGER not in stack.log(part)
        assert HIDDEN_TEXT not in stack.log(part)


def test_with_a_reference_natural_answers_do_not_count(
    client: Client, planted_model: Path, natural_base: Path, sibling: Path, registry: dict[str, Fingerprint]
) -> None:
    report = scanned(client, planted_model, natural_base)
    assert [match.fingerprint for match in report.licences] == [registry["plain"].id, registry["hashed"].id]
    assert report.licences[0].trigger_success == pytest.approx(1 / 4)
    assert report.verdict is Verdict.hidden_text
    report = scanned(client, sibling, natural_base)
    assert report.licences == []
    said = f"The reference also answers 1 of the 1 triggers of the fingerprint {registry['natural'].id}"
    assert any(reason.startswith(said) for reason in report.reasons)


def test_a_clean_model_carries_none(client: Client, clean: Path, registry: dict[str, Fingerprint]) -> None:
    report = scanned(client, clean)
    assert report.licences == []
    assert report.verdict is Verdict.inconclusive
