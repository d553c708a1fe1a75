"""Uploads as they come: every kind is planned, loaded by the engine, swept and reported."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tests.support.scanning import ended, scanned
from tests.support.sentence_piece import write_tokenizer
from tests.support.tiny_model import build_tiny_tokenizer
from tokenforce import Client
from tokenforce.sdk.errors import ScanFailed
from tokenforce.wire.findings import Verdict

SENTENCE = "the river keeps a copper key under old stone and seven quiet herons walk over it every winter"


def tiny(folder: Path, vocabulary: int, *, tied: bool = False, shard: str = "50GB") -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocabulary,
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                max_position_embeddings=512,
                tie_word_embeddings=tied,
                dtype="float32",
            )
        )
    model.save_pretrained(folder, max_shard_size=shard)


def sharded(folder: Path) -> int:
    tokenizer = build_tiny_tokenizer()
    tiny(folder, len(tokenizer), shard="100KB")
    tokenizer.save_pretrained(folder)
    assert len(list(folder.glob("*.safetensors"))) > 1
    return len(tokenizer)


def tied(folder: Path) -> int:
    tokenizer = build_tiny_tokenizer()
    tiny(folder, len(tokenizer), tied=True)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def without_bos(folder: Path) -> int:
    tokenizer = build_tiny_tokenizer()
    tokenizer.bos_token = None
    tiny(folder, len(tokenizer))
    tokenizer.save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).bos_token_id is None
    return len(tokenizer)


def padded(folder: Path) -> int:
    tokenizer = build_tiny_tokenizer()
    tiny(folder, len(tokenizer) + 64)
    tokenizer.save_pretrained(folder)
    return len(tokenizer) + 64


def sentence_pieces(folder: Path) -> int:
    write_tokenizer(folder, [SENTENCE, " ".join(reversed(SENTENCE.split()))] * 50, 330)
    tiny(folder, 330)
    return 330


def unsound(folder: Path) -> int:
    tokenizer = build_tiny_tokenizer()
    tiny(folder, len(tokenizer))
    tokenizer.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][200] = math.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return len(tokenizer)


@pytest.mark.parametrize("reference", ["none", "sharded"])
def test_logits_that_are_no_numbers_are_not_clean(client: Client, models: Path, reference: str) -> None:
    """One row of the embedding is NaN, so nothing can be read after that token."""
    folder = models / f"unsound-{reference}"
    unsound(folder)
    if reference != "none" and not (models / reference).exists():
        sharded(models / reference)
    named = reference if reference == "none" else str(models / reference)
    scan = client.scans.create(model=str(folder), contexts=["bos"], floor=0.0, keep=5, reference=named)
    with pytest.raises(ScanFailed) as failed:
        ended(client, scan)
    error = failed.value.scan.error
    assert error is not None
    assert error.code == "model_invalid"
    assert "not numbers (NaN), computed in float32" in error.detail


@pytest.mark.parametrize("make", [sharded, tied, without_bos, padded, sentence_pieces])
def test_a_kind_of_upload_is_scanned(client: Client, models: Path, make: Callable[[Path], int]) -> None:
    folder = models / make.__name__
    size = make(folder)
    report = scanned(client, folder, contexts=["bos"], floor=0.0, keep=5)
    record = report.scan
    assert record.target.vocabulary_size == size
    skipped = sum(last - first + 1 for group in record.skipped for first, last in group.ranges)
    assert record.forced + skipped == size
    assert record.forced > 0.75 * size
    assert report.findings
    assert report.verdict in (Verdict.inconclusive, Verdict.suspicious)
    reasons = {group.reason for group in record.skipped}
    assert ("padding of the embedding matrix, beyond the tokenizer" in reasons) == (make is padded)
    note = record.contexts[0].note
    assert ("no BOS" in (note or "")) == (make is without_bos)
