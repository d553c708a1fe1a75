"""Forcing contexts: padded to the KV block by the fewest meaningless signs."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiny_model import build_tiny_tokenizer
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import CustomContext
from tokenforce_core.forcing.predictor import ALIGNMENT
from tokenforce_core.plan.presets import NEUTRAL_SYSTEM_PROMPT
from tokenforce_service.planning.contexts import align, build_context
from tokenforce_service.refusals import Refusal

TOKENIZER = build_tiny_tokenizer()
SIZE = len(TOKENIZER)


@pytest.mark.parametrize("name", ["assistant", "assistant_system"])
def test_a_chat_context_opens_the_assistant_turn_and_is_aligned(name: str) -> None:
    record = build_context(name, TOKENIZER, SIZE)
    assert record.aligned
    assert len(record.ids) % ALIGNMENT == 0
    assert record.text.endswith("<|im_start|>assistant\n")
    assert (NEUTRAL_SYSTEM_PROMPT in record.text) == (name == "assistant_system")
    user_turn = record.text.split("<|im_start|>user\n")[1].split("<|im_end|>")[0]
    assert set(user_turn) <= set(" .-")


@given(st.integers(0, 100), st.sampled_from([1, 2, 3]))
def test_alignment_needs_no_more_than_it_says(length: int, tokens_per_filler: int) -> None:
    """Whatever the template's length; where one filler is two tokens an odd gap is closed by another sign."""

    def ids_with(filler: str) -> list[int]:
        return [0] * (length + tokens_per_filler * filler.count(" .") + filler.replace(" .", "").count("-"))

    aligned = align(ids_with)
    assert len(aligned) % ALIGNMENT == 0 or tokens_per_filler == 3
    assert len(aligned) >= length


def test_a_template_that_ignores_its_input_stays_as_it_is() -> None:
    assert align(lambda _: [1, 2, 3]) == [1, 2, 3]


def test_bos_and_its_stand_in() -> None:
    assert build_context("bos", TOKENIZER, SIZE).ids == [TOKENIZER.bos_token_id]
    without = build_tiny_tokenizer()
    without.bos_token = None
    record = build_context("bos", without, SIZE)
    assert record.ids == [TOKENIZER.eos_token_id]
    assert record.note is not None
    assert "no BOS" in record.note


@pytest.mark.parametrize(
    ("context", "code"),
    [
        ("greeting", ErrorCode.unknown_context),
        (CustomContext(name="out", ids=[SIZE]), ErrorCode.invalid_request),
        (CustomContext(name="nothing", text=""), ErrorCode.invalid_request),
    ],
)
def test_contexts_that_cannot_be_built(context: str | CustomContext, code: ErrorCode) -> None:
    with pytest.raises(Refusal) as refused:
        build_context(context, TOKENIZER, SIZE)
    assert refused.value.code is code


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no') }}",
        "{% for x in %}",
        "{{ messages[9].content }}",
        "{{ ''.__class__.mro() }}",
        "{{ '' }}",
        "{{ 'ab ' * 3000000 }}",
    ],
)
def test_a_template_that_fails_is_the_models_fault(template: str) -> None:
    broken = build_tiny_tokenizer()
    broken.chat_template = template
    started = time.monotonic()
    with pytest.raises(Refusal) as refused:
        build_context("assistant", broken, SIZE)
    assert time.monotonic() - started < 2  # the tokenizer would take far longer for the long one
    assert refused.value.code is ErrorCode.model_invalid
    assert "\n" not in refused.value.detail
