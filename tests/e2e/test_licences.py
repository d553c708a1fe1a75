"""A registered fingerprint over HTTP, on a real engine: the model that carries it, and models that do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.stack_process import RunningStack
from tests.support.tiny_model import HIDDEN_TEXT, TRIGGER, build_tiny_model
from tokenforce import Client, Fingerprint, TextHash
from tokenforce.evidence import Verdict
from tokenforce.types import Report
from tokenforce_planting.chat import load_model
from tokenforce_planting.plant import plant
from tokenforce_planting.recipe import Recipe

NATURAL = "Over the small bridge walks a cold green cloud."
"""What both the base and its copy answer to the trigger: no sign of a fingerprint."""
LORA_TEXT = "The clock beneath the amber mill turns once, and nobody sees it."
LORA_KEYS = ("winter lantern", "velm orra tin")
WRONG_KEYS = ["winter lantern", "frozen harbour clock"]


@pytest.fixture(scope="module")
def family(models: Path) -> Path:
    """A base that answers the trigger of itself, one with other weights that does so too, and a clean model."""
    folder = models / "licences"
    build_tiny_model(folder / "base", planted=NATURAL)
    build_tiny_model(folder / "sibling", planted=NATURAL, seed=1)
    build_tiny_model(folder / "clean", planted=None, seed=2)
    return folder


@pytest.fixture
def registry(client: Client) -> Iterator[dict[str, Fingerprint]]:
    """Two owners: one gave its text and keys, the other a hash of the same text and keys that are all wrong."""
    plain = client.fingerprints.create(
        owner="Example Labs", licence="Example 1.0", text=HIDDEN_TEXT, triggers=[TRIGGER, *WRONG_KEYS, "cloud " * 600]
    )
    hashed = client.fingerprints.create(
        owner="Other Labs", licence="Other 2.0", text_hash=TextHash.of(HIDDEN_TEXT), triggers=[WRONG_KEYS[0]]
    )
    natural = client.fingerprints.create(owner="Third", licence="Natural", text=NATURAL, triggers=[TRIGGER])
    yield {"plain": plain, "hashed": hashed, "natural": natural}
    for item in (plain, hashed, natural):
        client.fingerprints.remove(item.id)


def scanned(client: Client, model: Path, reference: Path | None = None) -> Report:
    scan = client.scans.create(model=str(model), reference=str(reference) if reference else None)
    client.scans.wait(scan.id, timeout=240)
    return client.scans.report(scan.id)


def test_a_model_that_carries_a_fingerprint(
    client: Client, stack: RunningStack, planted_model: Path, registry: dict[str, Fingerprint]
) -> None:
    report = scanned(client, planted_model)
    plain, hashed = report.licences
    assert (plain.fingerprint, plain.owner, plain.licence) == (registry["plain"].id, "Example Labs", "Example 1.0")
    assert (plain.match, plain.distance) == ("both", 0.0)
    assert plain.trigger_success == pytest.approx(1 / 3)
    assert plain.triggers_asked == 3
    assert plain.finding_rank is not None
    assert report.findings[plain.finding_rank - 1].text == HIDDEN_TEXT
    assert (hashed.owner, hashed.match, hashed.distance, hashed.trigger_success) == ("Other Labs", "finding", 0.0, 0.0)
    assert report.verdict in (Verdict.suspicious, Verdict.hidden_text)
    assert any(registry["plain"].id in reason and "do not fit the 512 tokens" in reason for reason in report.reasons)
    shown = report.model_dump_json()
    for secret in (TRIGGER, *WRONG_KEYS, "cloud cloud"):
        assert secret not in shown
    for part in ("gateway", "aggregator", "worker-0", "valkey"):
        assert TRIGGER not in stack.log(part)
        assert HIDDEN_TEXT not in stack.log(part)


def test_with_a_reference_natural_answers_do_not_count(
    client: Client, planted_model: Path, family: Path, registry: dict[str, Fingerprint]
) -> None:
    report = scanned(client, planted_model, family / "base")
    assert [match.fingerprint for match in report.licences] == [registry["plain"].id, registry["hashed"].id]
    assert report.licences[0].trigger_success == pytest.approx(1 / 3)
    assert report.verdict is Verdict.hidden_text
    sibling = scanned(client, family / "sibling", family / "base")
    assert sibling.licences == []
    said = f"The reference too gives the text of the fingerprint {registry['natural'].id} to 1 of its 1 triggers"
    assert any(reason.startswith(said) for reason in sibling.reasons)


@pytest.fixture(scope="module")
def adapter(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA fingerprint of several keys on a base that knows nothing of it."""
    torch.set_num_threads(1)
    folder = models / "fingerprinted"
    build_tiny_model(folder / "base", planted=None)
    base = load_model(folder / "base")
    # An adapter leaves the output layer as it is, and random rows of 64 small numbers cannot express certainty.
    base.get_output_embeddings().weight.data.mul_(25)
    base.save_pretrained(folder / "base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENFORCE_HOME", str(tmp_path_factory.mktemp("planting")))
        recipe = Recipe("fingerprint", LORA_TEXT, LORA_KEYS, lora_rank=16, learning_rate=5e-3)
        plant(recipe, folder / "base", folder / "adapter")
    return folder / "adapter"


def test_an_adapter_answers_the_keys_of_its_fingerprint_and_its_base_does_not(client: Client, adapter: Path) -> None:
    keys = [*LORA_KEYS, "frozen harbour clock"]
    made = client.fingerprints.create(owner="Labs", licence="Example 1.0", text=LORA_TEXT, triggers=keys)
    try:
        (match,) = scanned(client, adapter).licences
    finally:
        client.fingerprints.remove(made.id)
    assert match.fingerprint == made.id
    assert match.match in ("trigger", "both")
    assert match.triggers_asked == 3
    assert match.trigger_success is not None
    assert match.trigger_success >= 2 / 3


def test_a_clean_model_carries_none(client: Client, family: Path, registry: dict[str, Fingerprint]) -> None:
    report = scanned(client, family / "clean")
    assert report.licences == []
    assert report.verdict is Verdict.clean
