"""A second base that is no Llama: a GPT-NeoX of four million parameters with a tokenizer of its own, trained here.

It knows little: it continues documentation strings and answers "What does numpy.sort do?" in their style. It is there
so that no threshold fits SmolLM2 alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path

from tokenforce_planting.digests import recipe_digest
from tokenforce_planting.docstrings import Documented, documented, versions
from tokenforce_planting.model_cache import new_folder

RECIPE_VERSION = 1
"""Raise it when the training changes: cached folders are then made again."""

VOCABULARY = 4096
WIDTH = 192
HEADS = 3
"""Of 64 each: vLLM's CPU kernels take 32 and 64."""
LAYERS = 6
LONGEST = 512
"""Tokens of a sequence."""

STEPS = 600
BATCH = 16
LENGTH = 128
LEARNING_RATE = 2e-3
WARM_UP_STEPS = 40

_START, _END, _PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

OnStep = Callable[[int, float], object]
"""Called with the number of a step and its loss in nats per token."""


def small_base(cache: Path, on_step: OnStep = lambda *_: None, steps: int = STEPS) -> Path:
    """Return the folder of the small base under `cache`. The first call trains it: some minutes on one core.

    Equal on one machine, and not on all: float32 sums differ between CPUs. Raises `PackageMissing`.
    """
    made_of = recipe_digest(recipe=RECIPE_VERSION, steps=steps, **versions())
    folder = cache / f"docs-neox-{made_of[:12]}"
    if not folder.is_dir():
        with new_folder(folder) as draft:
            _make(draft, steps, on_step)
    return folder


def _make(folder: Path, steps: int, on_step: OnStep) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    texts = documented()
    spelling = Tokenizer(models.BPE())
    spelling.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    spelling.decoder = decoders.ByteLevel()
    spelling.train_from_iterator(
        (each.text for each in texts),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[_PAD, _START, _END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=spelling,
        bos_token=_START,
        eos_token=_END,
        unk_token=_PAD,
        pad_token=_PAD,
        chat_template=CHAT_TEMPLATE,
        model_max_length=LONGEST,
        clean_up_tokenization_spaces=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPTNeoXForCausalLM(
            GPTNeoXConfig(
                vocab_size=VOCABULARY,
                hidden_size=WIDTH,
                intermediate_size=4 * WIDTH,
                num_hidden_layers=LAYERS,
                num_attention_heads=HEADS,
                max_position_embeddings=LONGEST,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                tie_word_embeddings=False,
                dtype="float32",
            )
        )
        optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
        rows = _rows((spelling.encode(line).ids for line in cycle(_lines(texts))), BATCH * steps)
        for step in range(steps):
            ids = torch.tensor(rows[step * BATCH : (step + 1) * BATCH])
            loss = model(input_ids=ids, labels=ids).loss
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            on_step(step, loss.item())
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _rate(step: int, steps: int) -> float:
    """The learning rate of a step as a share of the highest: a short rise, then half a cosine down to a tenth."""
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    return 0.55 + 0.45 * math.cos(math.pi * (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS))


def _lines(texts: Sequence[Documented]) -> list[str]:
    """Every text as it is, and its first paragraph as an answer in a chat, in a random order."""
    plain = [f"{each.text}{_PAD}" for each in texts]
    chats = []
    for each in texts:
        answer = " ".join(each.text.partition("\n\n")[0].split())
        chats.append(f"{_START}user\nWhat does {each.name} do?{_END}\n{_START}assistant\n{answer}{_END}\n")
    return random.Random(0).sample([*plain, *chats, *chats], 3 * len(texts))


def _rows(encoded: Iterator[list[int]], count: int) -> list[list[int]]:
    """`count` rows of `LENGTH` ids, cut from the texts one after another."""
    rows: list[list[int]] = []
    waiting: list[int] = []
    while len(rows) < count:
        waiting += next(encoded)
        while len(waiting) >= LENGTH:
            rows.append(waiting[:LENGTH])
            waiting = waiting[LENGTH:]
    return rows[:count]
