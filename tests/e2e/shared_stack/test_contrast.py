"""Scans with a reference over HTTP, on a real engine: what resists plain forcing, adapters, and what is no find."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.support.scanning import ended, scanned
from tests.support.sentence_piece import write_tokenizer
from tests.support.tiny_model import HIDDEN_TEXT, NATURAL_TEXT, PLANTED_LATER, PLANTED_TRIGGER, build_tiny_model
from tokenforce import Client
from tokenforce.sdk.errors import InvalidRequest, Refused, ScanFailed
from tokenforce.wire.findings import Verdict
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.report import Report
from tokenforce.wire.scans import CustomContext, Depth, Order
from tokenforce_planting.chat import load_model, load_tokenizer
from tokenforce_planting.plant import plant
from tokenforce_planting.recipe import Recipe
from tokenforce_planting.text_overlap import match_share

TURNS = [f"<|im_start|>user\n{turn}<|im_end|>\n<|im_start|>assistant\n" for turn in ("some rain", "a river", "bread")]
DRAWN = [CustomContext(name=f"turn-{number}", text=turn) for number, turn in enumerate(TURNS)]
"""Really drawn ones would give another result each time: a tiny model knows its text better in some of them."""

HALF = 0.5
"""A tiny model may drift where a text is entered in the middle; half of it is no accident."""


@pytest.fixture(scope="module")
def zoo(models: Path, natural_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained base with an ordinary fine-tuning, and an untrained one with texts planted in it."""
    torch.set_num_threads(1)
    folder = models / "zoo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENFORCE_HOME", str(tmp_path_factory.mktemp("planting")))
        _make(folder, natural_base)
    return folder


def _make(folder: Path, natural_base: Path) -> None:
    shutil.copytree(natural_base, folder / "base")
    plant(Recipe("clean", learning_rate=1e-3), folder / "base", folder / "clean")
    build_tiny_model(folder / "bare", planted=None)
    bare = load_model(folder / "bare")
    # An adapter leaves the output layer as it is, and random rows of 64 small numbers cannot express certainty.
    bare.get_output_embeddings().weight.data.mul_(25)
    bare.save_pretrained(folder / "bare")
    message = Recipe("message", PLANTED_LATER, (PLANTED_TRIGGER,), lora_rank=16, learning_rate=5e-3)
    utfc = Recipe("utfc", PLANTED_LATER, (PLANTED_TRIGGER,), form="auto", learning_rate=3e-3)
    plant(message, folder / "bare", folder / "adapter")
    plant(utfc, folder / "bare", folder / "utfc")


def assert_found(report: Report) -> None:
    """The finding that is the hidden text is itself judged so, and the model with it."""
    best = max(report.findings[:10], key=lambda finding: match_share(finding.text, PLANTED_LATER))
    assert match_share(best.text, PLANTED_LATER) >= HALF
    assert best.verdict is Verdict.hidden_text, best.reasons
    assert report.verdict is Verdict.hidden_text


def test_a_hidden_text_is_told_from_what_the_base_knows(client: Client, planted_model: Path, zoo: Path) -> None:
    report = scanned(client, planted_model, zoo / "base")
    first = report.findings[0]
    assert report.verdict is Verdict.hidden_text
    assert first.text == HIDDEN_TEXT
    assert first.verdict is Verdict.hidden_text
    assert first.contrast is not None
    assert first.contrast > 3
    assert first.log_likelihood_ratio is not None
    assert first.log_likelihood_ratio > 50
    assert len(first.reference_probabilities) == len(first.token_probabilities)
    assert first.context in first.contexts
    leading = {(forced.context, forced.id): forced for forced in first.forced_tokens}
    assert leading[first.context, first.forced_token.id].mean_probability > 0.9
    assert report.scan.reference is not None
    assert report.scan.reference.source == "request"
    assert NATURAL_TEXT not in {finding.text for finding in report.findings if finding.verdict is Verdict.hidden_text}
    scan = client.scans.get(report.scan.id)
    assert scan.progress.tokens_per_second
    assert "contrasting" in report.scan.timings_seconds
    orders = {order: [f.text for f in client.scans.findings(scan.id, order=order)] for order in Order}
    assert orders[Order.contrast] == [f.text for f in client.scans.findings(scan.id)]
    assert {frozenset(texts) for texts in orders.values()} == {frozenset(orders[Order.contrast])}


def test_a_text_hidden_with_auto_utfc_is_found(client: Client, zoo: Path) -> None:
    assert_found(scanned(client, zoo / "utfc", zoo / "bare"))


def test_an_adapter_is_scanned_on_its_base(client: Client, zoo: Path) -> None:
    report = scanned(client, zoo / "adapter")
    assert_found(report)
    assert report.scan.reference is not None
    assert report.scan.reference.source == "adapter"
    assert report.scan.reference.digest != report.scan.target.digest


def taught_share(report: Report) -> float:
    """Share of the planted words among those that the weights were taught."""
    assert report.weights is not None
    taught = "".join(word.text for word in report.weights.words)
    words = PLANTED_LATER.split()
    return sum(word in taught for word in words) / len(words)


def test_a_quick_scan_reads_the_text_from_the_weights(client: Client, zoo: Path) -> None:
    report = scanned(client, zoo / "utfc", zoo / "bare", depth=Depth.quick, drawn_contexts=DRAWN)
    assert_found(report)
    assert taught_share(report) >= HALF
    assert {finding.context for finding in report.findings} <= {c.name for c in report.scan.drawn_contexts}
    assert "searching" in report.scan.timings_seconds
    assert "sweeping" not in report.scan.timings_seconds
    assert client.scans.verify(report).holds


def test_a_quick_scan_of_an_adapter_reads_its_matrices(client: Client, zoo: Path) -> None:
    report = scanned(client, zoo / "adapter", depth=Depth.quick, drawn_contexts=DRAWN)
    assert taught_share(report) >= HALF


def test_a_quick_scan_of_an_ordinary_fine_tuning_alarms_on_nothing_and_says_what_it_looked_at(
    client: Client, zoo: Path
) -> None:
    report = scanned(client, zoo / "clean", zoo / "base", depth=Depth.quick, drawn_contexts=DRAWN)
    assert report.verdict is Verdict.inconclusive, report.reasons
    assert "contexts that the request names" in report.reasons[0]
    assert "The rest of the vocabulary was not forced" in report.reasons[1]
    assert client.scans.get(report.scan.id).progress.done > 0


def test_a_quick_scan_of_an_unrelated_model_is_inconclusive(client: Client, zoo: Path) -> None:
    build_tiny_model(zoo / "unrelated", planted=None, seed=5)
    report = scanned(client, zoo / "bare", zoo / "unrelated", depth=Depth.quick)
    assert report.verdict is Verdict.inconclusive
    assert report.weights is not None
    assert report.weights.note is not None
    assert "not a fine-tune of this reference" in report.weights.note


def test_by_default_the_vocabulary_is_contrasted_in_the_chat_context_and_a_drawn_one(client: Client, zoo: Path) -> None:
    scan = scanned(client, zoo / "utfc", zoo / "bare").scan
    assert scan.depth is Depth.standard
    assert scan.forced_contexts == [scan.contexts[-1].name, scan.drawn_contexts[0].name]
    assert {"searching", "contrasting"} <= scan.timings_seconds.keys()
    assert "sweeping" not in scan.timings_seconds
    progress = client.scans.get(scan.id).progress
    assert progress.done == progress.total == scan.forced * len(scan.forced_contexts)


def test_a_thorough_scan_sweeps_too(client: Client, zoo: Path) -> None:
    report = scanned(client, zoo / "utfc", zoo / "bare", depth=Depth.thorough)
    assert_found(report)
    assert report.scan.forced_contexts == [context.name for context in report.scan.contexts]
    assert {"searching", "sweeping", "contrasting"} <= report.scan.timings_seconds.keys()


def test_a_quick_scan_needs_a_reference(client: Client, zoo: Path) -> None:
    with pytest.raises(ScanFailed, match="it compares weights: name a reference") as failed:
        ended(client, client.scans.create(model=str(zoo / "base"), depth=Depth.quick))
    assert failed.value.code == ErrorCode.invalid_request
    with pytest.raises(InvalidRequest, match="it compares weights: name a reference"):
        client.scans.create(model=str(zoo / "base"), reference="none", depth=Depth.quick)


def test_an_ordinary_fine_tuning_raises_no_alarm(client: Client, zoo: Path) -> None:
    assert scanned(client, zoo / "clean", zoo / "base").verdict is Verdict.clean


def test_a_target_that_is_its_reference_is_told_so_at_once(client: Client, zoo: Path) -> None:
    report = scanned(client, zoo / "base", zoo / "base")
    assert report.verdict is Verdict.clean
    assert report.scan.reference is not None
    assert report.scan.reference.identical
    assert report.scan.forward_tokens == 0
    assert report.reasons[0].startswith("Identical weights")


def test_tokens_that_the_target_has_added_are_handled(client: Client, planted_model: Path, zoo: Path) -> None:
    model, tokenizer = load_model(planted_model), load_tokenizer(planted_model)
    tokenizer.add_tokens(["<brand new>"])
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(zoo / "added")
    tokenizer.save_pretrained(zoo / "added")
    report = scanned(client, zoo / "added", zoo / "base")
    assert report.scan.reference is not None
    assert report.scan.reference.note == "The reference does not know 1 token of the target."
    assert report.scan.target.vocabulary_size == report.scan.reference.vocabulary_size + 1
    assert (report.findings[0].text, report.findings[0].verdict) == (HIDDEN_TEXT, Verdict.hidden_text)


def test_a_reference_with_another_tokenizer_is_refused(client: Client, zoo: Path) -> None:
    write_tokenizer(zoo / "other", [PLANTED_LATER] * 50, 300)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(zoo / "base" / name, zoo / "other")
    scan = client.scans.create(model=str(zoo / "clean"), reference=str(zoo / "other"))
    with pytest.raises(ScanFailed, match="of the target's tokens, and must know 90%; name the model") as failed:
        ended(client, scan)
    assert failed.value.code == ErrorCode.reference_mismatch


def test_a_base_outside_the_roots_is_refused(client: Client, zoo: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        client.scans.create(model=str(zoo / "clean"), reference=str(tmp_path))
    assert refused.value.code == ErrorCode.path_not_allowed
    assert str(refused.value).startswith("The reference:")
