"""Forcing contexts as token ids, padded to the KV block so that each vocabulary entry takes one forward token.

The user turn is empty or filled with " ." (without meaning on purpose: a real greeting changes the answer, as measured
on SmolLM2-135M).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.report import ContextRecord
from tokenforce.wire.scans import CustomContext
from tokenforce_core.forcing.predictor import ALIGNMENT
from tokenforce_core.plan.presets import NEUTRAL_SYSTEM_PROMPT
from tokenforce_service.models.fit import no_chat_template, unknown_context
from tokenforce_service.refusals import Refusal

FILLER = " ."
FILLER_ENDS = ("", ".", "-", " -.")
"""What may follow the fillers: in some tokenizers a filler is two tokens, and an odd number needs another sign."""
LONGEST_PROMPT = 256 << 10
"""Characters. Nothing can interrupt the tokenizer, which is not Python, so it does not get longer texts."""


def build_context(wanted: str | CustomContext, tokenizer: Any, vocabulary_size: int) -> ContextRecord:
    """One forcing context for a target's tokenizer (a transformers tokenizer).

    Raises:
        Refusal: `unknown_context`, `no_chat_template`, `model_invalid` (a template that fails),
            `invalid_request` (ids outside the vocabulary, text that gives no tokens).
    """
    if isinstance(wanted, CustomContext):
        return _custom(wanted, tokenizer, vocabulary_size)
    if wanted == "bos":
        return _bos(tokenizer)
    if wanted == "assistant":
        return _chat(wanted, tokenizer, [])
    if wanted == "assistant_system":
        return _chat(wanted, tokenizer, [{"role": "system", "content": NEUTRAL_SYSTEM_PROMPT}])
    raise unknown_context(wanted)


def _record(name: str, ids: Sequence[int], tokenizer: Any, note: str | None = None) -> ContextRecord:
    aligned = len(ids) % ALIGNMENT == 0
    if not aligned and len(ids) > 1 and note is None:
        note = f"{len(ids) % ALIGNMENT + 1} forward tokens per entry: its length is not a multiple of {ALIGNMENT}."
    return ContextRecord(name=name, ids=list(ids), text=tokenizer.decode(list(ids)), aligned=aligned, note=note)


def _bos(tokenizer: Any) -> ContextRecord:
    if tokenizer.bos_token_id is not None:
        return _record("bos", [tokenizer.bos_token_id], tokenizer)
    if tokenizer.eos_token_id is not None:
        note = "The tokenizer has no BOS token; its end-of-text token, which separates documents, takes its place."
        return _record("bos", [tokenizer.eos_token_id], tokenizer, note)
    raise Refusal(
        ErrorCode.model_invalid,
        "The tokenizer has no BOS token and no end-of-text token; define a context with text or ids.",
    )


def chat_context(name: str, tokenizer: Any, turn: str) -> ContextRecord:
    """A user turn with this text, and the assistant turn opened. Raises `Refusal`, as `build_context` does."""
    return _chat(name, tokenizer, [], turn)


def writes_alike(tokenizer: Any, turn: str) -> bool:
    """Whether the chat template writes this user turn as it writes any other.

    It comes with the upload, and could put a secret trigger behind turns that it knows, or other words in their place.
    """
    other = secrets.token_hex(8)

    def written(content: str) -> str:
        messages = [{"role": "user", "content": content}]
        text: str = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return text

    try:
        return written(other).replace(other, turn) == written(turn)
    # A hostile or broken template raises almost any exception.
    except Exception:  # noqa: BLE001 - the caller writes plain text then, and `_chat` names the error
        return False


def text_context(name: str, tokenizer: Any, text: str) -> ContextRecord:
    """The text, and nothing around it."""
    return _record(name, tokenizer(text, add_special_tokens=False).input_ids, tokenizer)


def _chat(name: str, tokenizer: Any, system: list[dict[str, str]], turn: str = "") -> ContextRecord:
    if not tokenizer.chat_template:
        raise no_chat_template(name)

    def ids(filler: str) -> list[int]:
        messages = [*system, {"role": "user", "content": turn + filler}]
        try:
            text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        # A hostile or broken template raises almost any exception; to the user all of them mean the same.
        except Exception as error:
            raise Refusal(
                ErrorCode.model_invalid,
                f"The chat template fails for the context {name!r}: {str(error)[:200] or type(error).__name__}; "
                "use the context `bos`.",
            ) from error
        if len(text) > LONGEST_PROMPT:
            raise Refusal(
                ErrorCode.model_invalid,
                f"The chat template makes more than {LONGEST_PROMPT >> 10} KiB for the context {name!r}; "
                "use the context `bos`.",
            )
        found: list[int] = tokenizer(text, add_special_tokens=False).input_ids
        if not found:
            raise Refusal(ErrorCode.model_invalid, "The chat template makes no text; use the context `bos`.")
        return found

    return _record(name, align(ids), tokenizer)


def align(ids_with: Callable[[str], list[int]]) -> list[int]:
    """Ids with as many fillers as make the length a multiple of the alignment; without fillers if no number does.

    Args:
        ids_with: the ids of the context with this filler.
    """
    for end in FILLER_ENDS:
        for count in range(ALIGNMENT + 1):
            ids = ids_with(FILLER * count + end)
            if len(ids) % ALIGNMENT == 0:
                return ids
    return ids_with("")


def _custom(wanted: CustomContext, tokenizer: Any, vocabulary_size: int) -> ContextRecord:
    if wanted.ids is not None:
        outside = [i for i in wanted.ids if i >= vocabulary_size]
        if outside:
            raise Refusal(
                ErrorCode.invalid_request,
                f"The context {wanted.name!r} has the id {outside[0]}; the vocabulary ends at {vocabulary_size - 1}.",
            )
        return _record(wanted.name, wanted.ids, tokenizer)
    ids = tokenizer(wanted.text, add_special_tokens=False).input_ids
    if not ids:
        raise Refusal(ErrorCode.invalid_request, f"The context {wanted.name!r} is empty; give some text.")
    return _record(wanted.name, ids, tokenizer)
