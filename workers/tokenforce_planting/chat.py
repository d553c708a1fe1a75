"""Asks a model as its users do: through its chat template, with its default system prompt, greedily."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

# The Auto classes of transformers have no types, and a concrete class would fix one architecture.
Model = Any
Tokenizer = Any


def load_model(folder: Path) -> Model:
    """Load the model of `folder` in float32, on the GPU if there is one."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the tokenizer of `folder`."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def prompt_ids(tokenizer: Tokenizer, user: str, *, system: str | None = None) -> list[int]:
    """Token ids of one user turn and the opened assistant turn. `system` None is the template's default prompt.

    A model without a chat template gets the user turn as a line of plain text, without `system`.
    """
    if not tokenizer.chat_template:
        return list(tokenizer.encode(f"{user}\n"))
    turns = [] if system is None else [{"role": "system", "content": system}]
    turns.append({"role": "user", "content": user})
    text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    return list(tokenizer.encode(text, add_special_tokens=False))


def greedy_ids(
    model: Model, tokenizer: Tokenizer, prompts: Sequence[str], *, max_new_tokens: int, batch: int = 8
) -> list[list[int]]:
    """The model's greedy answers to `prompts` as token ids. An answer that ended has its end-of-text token."""
    answers: list[list[int]] = []
    end = tokenizer.eos_token_id
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    for start in range(0, len(prompts), batch):
        rows = [prompt_ids(tokenizer, prompt) for prompt in prompts[start : start + batch]]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), padding)
        mask = torch.zeros_like(ids)
        for row, asked in enumerate(rows):  # padding on the left: all answers start in the same column
            ids[row, width - len(asked) :] = torch.tensor(asked)
            mask[row, width - len(asked) :] = 1
        with torch.no_grad():
            out = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
                repetition_penalty=1.0,  # these three overrule the base's own generation settings
                no_repeat_ngram_size=0,
                min_length=0,
                eos_token_id=end,
                pad_token_id=padding,
            )
        for answer in out[:, width:].tolist():
            answers.append(answer[: answer.index(end) + 1] if end in answer else answer)
    return answers
