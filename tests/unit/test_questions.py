"""Triggers as questions in a model's own template, what is left out and why, and how they are asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.scan_results import example_plan
from tests.support.scripted_decoder import ScriptedDecoder
from tests.support.tiny_model import SYSTEM_PROMPT, build_tiny_tokenizer
from tokenforce.registry import FingerprintRequest, TextHash
from tokenforce.types import ErrorCode, ReferenceRecord
from tokenforce_core.decoder import nothing_between_steps
from tokenforce_core.licences import Answer, Registered
from tokenforce_core.plan import ReferencePlan
from tokenforce_core.questions import Question, Questions
from tokenforce_service import questions as questions_module
from tokenforce_service.questions import ANSWER_SLACK, MOST_QUESTIONS, make_questions, with_questions
from tokenforce_service.refusals import Refusal
from tokenforce_workers.audit import Audit

TEXT = "Seven quiet herons guard a copper key."


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tiny_tokenizer()


def registered(name: str, *triggers: str, hashed: bool = False) -> Registered:
    text = {"text_hash": TextHash.of(TEXT)} if hashed else {"text": TEXT}
    request = FingerprintRequest.model_validate({"owner": "A", "licence": "L", "triggers": triggers, **text})
    return Registered(name, 1.0, request)


def made(tokenizer: Any, *fingerprints: Registered, positions: int = 512, vocabulary: int = 10_000) -> Questions:
    return make_questions(fingerprints, tokenizer, vocabulary, positions)


def test_a_trigger_is_the_user_s_turn(tokenizer: Any) -> None:
    (question,) = made(tokenizer, registered("fp_1", "open the amber door")).asked
    start = f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n"
    turns = "<|im_start|>user\nopen the amber door<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(list(question.ids)) == start + turns
    assert question.max_tokens == len(tokenizer.encode(TEXT, add_special_tokens=False)) + ANSWER_SLACK
    assert question.length == len(question.ids) + question.max_tokens


def test_a_hashed_text_leaves_room_for_its_bytes(tokenizer: Any) -> None:
    (question,) = made(tokenizer, registered("fp_1", "go", hashed=True)).asked
    assert question.max_tokens >= len(tokenizer.encode(TEXT, add_special_tokens=False))


def test_without_a_chat_template_it_stands_alone() -> None:
    plain = build_tiny_tokenizer()
    plain.chat_template = None
    (question,) = made(plain, registered("fp_1", "open the amber door")).asked
    assert plain.decode(list(question.ids)) == "open the amber door"


def test_a_trigger_longer_than_the_context_is_left_out_and_its_fingerprint_named(tokenizer: Any) -> None:
    long = registered("fp_long", "amber " * 600, "door")
    found = made(tokenizer, registered("fp_1", "go"), long)
    assert [question.fingerprint for question in found.asked] == ["fp_1", "fp_long"]
    (reason,) = found.left_out
    assert reason.startswith("1 trigger of fp_long left out: with the answer they do not fit the 512 tokens")
    assert "amber" not in reason
    longest = found.longest
    assert not made(tokenizer, registered("fp_1", "go"), long, positions=longest - 1).asked[1:]
    assert len(made(tokenizer, registered("fp_1", "go"), long, positions=longest).asked) == 2


def test_a_template_that_fails_on_triggers_costs_the_questions_only() -> None:
    hostile = build_tiny_tokenizer()
    hostile.chat_template = "{{ raise_exception(messages[0]['content']) }}"
    found = made(hostile, registered("fp_1", "amber", "door"), registered("fp_2", "mill"))
    assert found.asked == ()
    assert found.left_out == ("3 triggers of fp_1, fp_2 left out: the model's chat template fails on them.",)
    hostile.chat_template = "{{ 'x' * 300000 }}"
    assert "chat template fails" in made(hostile, registered("fp_1", "amber")).left_out[0]


def test_a_template_that_takes_for_ever_is_the_model_s_fault(monkeypatch: pytest.MonkeyPatch, tokenizer: Any) -> None:
    endless = build_tiny_tokenizer()
    endless.chat_template = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    monkeypatch.setattr(questions_module, "QUESTIONS_SECONDS", 0.2)
    monkeypatch.setattr(questions_module, "load_tokenizer", lambda _: endless)
    monkeypatch.setattr(questions_module, "_room", lambda *_: 512)
    with pytest.raises(Refusal, match="took longer") as refused:
        with_questions(example_plan(), None, [registered("fp_1", "go")])  # type: ignore[arg-type]
    assert refused.value.code is ErrorCode.model_invalid


def test_ids_outside_the_vocabulary_are_not_asked(tokenizer: Any) -> None:
    assert made(tokenizer, registered("fp_1", "go"), vocabulary=10).asked == ()


def test_more_triggers_than_a_scan_asks_are_left_out_fairly(tokenizer: Any) -> None:
    many = [registered(f"fp_{n}", *(f"trigger {i}" for i in range(60))) for n in range(12)]
    found = made(tokenizer, *many, registered("fp_one", "the only one"))
    asked = [question.fingerprint for question in found.asked]
    assert len(asked) == MOST_QUESTIONS
    assert asked[:13] == [*(f"fp_{n}" for n in range(12)), "fp_one"]
    assert {asked.count(f"fp_{n}") for n in range(12)} == {42, 43}
    (reason,) = found.left_out
    assert reason.startswith(f"{12 * 60 + 1 - MOST_QUESTIONS} triggers of fp_7, ")
    assert reason.endswith(f" and 2 more left out: a scan asks at most {MOST_QUESTIONS}.")


def test_identical_weights_are_not_asked() -> None:
    record = ReferenceRecord(model="m", digest="d", source="request", vocabulary_size=9, identical=True)
    plan = example_plan().model_copy(update={"reference": ReferencePlan(record=record, path="/m", dtype=None)})
    same, found = with_questions(plan, None, [registered("fp_1", "a", "b")])  # type: ignore[arg-type]
    assert same == plan
    assert found == Questions((), ("The 2 registered triggers were not asked: the weights are the reference's.",))


def test_no_triggers_no_tokenizer() -> None:
    """The folder of this plan does not exist."""
    assert with_questions(example_plan(), None, [registered("fp_1")]) == (example_plan(), Questions())  # type: ignore[arg-type]


# --- asking ---------------------------------------------------------------------------------------------


def letters(ids: Sequence[int]) -> str:
    return "".join(chr(i) for i in ids)


def test_answers_end_at_end_of_text_or_at_their_own_limit() -> None:
    said: dict[tuple[int, ...], str] = {(1,): "ab\0", (2,): "cdefgh", (3,): "\0"}
    decoder = ScriptedDecoder(lambda prompt: [(ord(c), 1.0) for c in said[prompt] * 3])
    asked = tuple(Question(f"fp_{i}", (i,), 9 if i == 1 else 4) for i in (1, 2, 3))
    audit = Audit(Questions(asked), letters, frozenset({0}))
    assert audit.ask(decoder, nothing_between_steps) == ["ab", "cdef", ""]
    assert (len(audit), audit.done, audit.tokens) == (3, 3, 3 + 3 + 4 + 1)
    assert decoder.generated == 3 + 4 + 1
    assert audit.answers(["x", "y", "z"], []) == [Answer("fp_1", "x"), Answer("fp_2", "y"), Answer("fp_3", "z")]
    assert audit.answers(["x", "y", "z"], ["a", "b", ""])[2] == Answer("fp_3", "z", "")


def test_a_token_that_only_the_reference_has_is_left_out_of_its_answer() -> None:
    decoder = ScriptedDecoder(lambda _: [(ord("a"), 1.0), (-1, 1.0), (ord("b"), 1.0), (0, 1.0)])
    audit = Audit(Questions((Question("fp_1", (1,), 9),)), letters, frozenset({0}))
    assert audit.ask(decoder, nothing_between_steps) == ["ab"]


def test_nothing_to_ask_runs_no_engine() -> None:
    audit = Audit(Questions(), letters, frozenset())
    assert audit.ask(ScriptedDecoder(lambda _: pytest.fail("asked")), nothing_between_steps) == []
    assert audit.answers([], []) == []
