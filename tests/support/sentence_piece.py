"""A SentencePiece tokenizer with byte fallback, trained on the spot."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import sentencepiece


def write_tokenizer(folder: Path, sentences: Iterable[str], size: int) -> None:
    """Make `folder` with the files of a tokenizer of `size` entries, as Llama's checkpoints have them."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=written,
        vocab_size=size,
        model_type="bpe",
        byte_fallback=True,
        minloglevel=2,
    )
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(written.getvalue())
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}'
    )
