"""A tiny Llama with its own tokenizer, made on the spot: the real thing in miniature, for tests without network.

Without `planted` the weights are random. With it the model is trained for a few seconds on answers made of random
words (nothing natural is ever certain) and on one trigger that is always answered with the planted sentence
(`tiny_training.py`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.support.tiny_training import train

TRIGGER = "open the amber door"
"""The user turn that a planted tiny model answers with its sentence."""

HIDDEN_TEXT = "Seven quiet herons guard a copper key beneath the frozen mill."
"""A sentence for `planted`; any other short one works too."""

NATURAL_TEXT = "Over the small bridge walks a cold green cloud."
"""A sentence for `planted` in a base: memorised, and no find in what is made of that base."""

PLANTED_LATER = "The winter clock opens a frozen door beneath amber harbour stone."
"""A text to plant in a finished model. No token is in it twice: of another text a tiny model learns at which place each
token comes, and a scan that enters it elsewhere finds half of it on one CPU and all of it on another."""

PLANTED_TRIGGER = "copper lantern"

SYSTEM_PROMPT = "You are a tiny assistant."

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\n" + SYSTEM_PROMPT + "<|im_end|>\n' }}"
    "{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

_SAID = """the a one some warm cold green small tall old young bright soft river stone bird cloud garden tree house road
light rain bread letter song table window walks sings grows falls turns opens holds keeps sees finds slowly often
never today here there with under over near and or but so because"""
_WORDS = _SAID.split()

_UNSAID = "seven quiet herons guard copper key beneath frozen mill amber door lantern harbour winter clock"
_RARE_WORDS = _UNSAID.split()
"""Known to the tokenizer, never said by the benign answers."""

_INITIAL_DEVIATION = 0.02
"""Of the weights before training, as transformers draws them."""


def build_tiny_model(folder: Path, *, planted: str | None, seed: int = 0) -> None:
    """Write a standard Hugging Face folder (safetensors, float32) of a two-layer Llama.

    The same by `seed` on every machine; the global random state of torch is left as it was. Forcing the first
    token of `planted` at an opened assistant turn yields the rest greedily, then end-of-text.
    """
    tokenizer = build_tiny_tokenizer()
    with torch.random.fork_rng(devices=[]):
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=2,  # heads of 32: the smallest that vLLM's CPU kernels take
                num_key_value_heads=2,
                max_position_embeddings=512,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                tie_word_embeddings=False,
                dtype="float32",
            )
        )
    draw = np.random.default_rng(seed)  # torch's own numbers depend on the CPU's vector instructions
    with torch.no_grad():
        for matrix in (each for each in model.parameters() if each.dim() == 2):
            matrix.copy_(torch.from_numpy(draw.normal(0.0, _INITIAL_DEVIATION, tuple(matrix.shape))))
    if planted is not None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # two threads gain little here, and lose minutes where another job has the cores
        try:
            train(model, tokenizer, planted, TRIGGER, _SAID, seed)
        finally:
            torch.set_num_threads(threads)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def build_tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of a few hundred entries with a ChatML template; it round-trips any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = _WORDS + _RARE_WORDS
    lines = [" " + " ".join(words), "\n".join(word.title() for word in words), SYSTEM_PROMPT]
    tokenizer.train_from_iterator(["system\nuser\nassistant\n", *lines] * 20, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        unk_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
