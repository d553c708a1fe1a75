"""Triggers as questions in a model's own template, what is left out and why, and how they are asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.scan_results import NO_FILES, example_plan
from tests.support.scripted_decoder import ScriptedDecoder
from tests.support.tiny_model import SYSTEM_PROMPT, build_tiny_tokenizer
from tokenforce.wire.fingerprints import FingerprintRequest, TextHash
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.report import ReferenceRecord
from tokenforce_core.fingerprints.matching import Answer, Registered
from tokenforce_core.fingerprints.trigger_questions import Question, Questions
from tokenforce_core.forcing.predictor import nothing_between_steps
from tokenforce_core.plan.plan import ReferencePlan
from tokenforce_core.plan.verdict_thresholds import FINGERPRINTS
from tokenforce_service.models.tokenizer import Tokenizers
from tokenforce_service.planning import trigger_prompts as questions_module
from tokenforce_service.planning.trigger_prompts import make_questions, with_questions
from tokenforce_service.refusals import Refusal
from tokenforce_workers.jobs.trigger_answers import TriggerAnswers

MOST = FINGERPRINTS.max_questions
TEXT = "Seven quiet herons guard a copper key."


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tiny_tokenizer()


def registered(name: str, *triggers: str, hashed: bool = False, by: str = "local") -> Registered:
    text = {"text_hash": TextHash.of(TEXT)} if hashed else {"text": TEXT}
    request = FingerprintRequest.model_validate({"owner": "A", "licence": "L", "triggers": triggers, **text})
    return Registered(name, 1.0, request, by)


def made(
    tokenizer: Any,
    *fingerprints: Registered,
    positions: int = FINGERPRINTS.max_question_tokens,
    vocabulary: int = 10_000,
) -> Questions:
    return make_questions(fingerprints, tokenizer, vocabulary, positions, FINGERPRINTS)


def test_a_trigger_is_the_user_s_turn(tokenizer: Any) -> None:
    (question,) = made(tokenizer, registered("fp_1", "open the amber door")).asked
    start = f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n"
    turns = "<|im_start|>user\nopen the amber door<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(list(question.ids)) == start + turns
    assert (
        question.max_tokens
        == len(tokenizer.encode(TEXT, add_special_tokens=False)) + FINGERPRINTS.max_extra_answer_tokens
    )
    assert question.length == len(question.ids) + question.max_tokens


def test_a_hashed_text_leaves_room_for_its_bytes(tokenizer: Any) -> None:
    (question,) = made(tokenizer, registered("fp_1", "go", hashed=True)).asked
    assert question.max_tokens >= len(tokenizer.encode(TEXT, add_special_tokens=False))


def test_without_a_chat_template_it_stands_alone() -> None:
    plain = build_tiny_tokenizer()
    plain.chat_template = None
    (question,) = made(plain, registered("fp_1", "open the amber door")).asked
    assert plain.decode(list(question.ids)) == "open the amber door"


def test_a_trigger_longer_than_the_context_counts_as_not_working_and_a_note_says_so(tokenizer: Any) -> None:
    long = registered("fp_long", "amber " * 600, "door")
    found = made(tokenizer, registered("fp_1", "go"), long, positions=512)
    assert [question.fingerprint for question in found.asked] == ["fp_1", "fp_long"]
    assert found.failed == ("fp_long",)
    note = "Registered triggers that take more than 512 tokens in this model, with their answer, count as not working."
    assert found.left_out == (note,)
    assert made(tokenizer, registered("fp_1", "go"), positions=512).left_out == (note,), "whatever the triggers are"
    assert made(tokenizer, registered("fp_1", "go")).left_out == ()
    assert "more than 1024 tokens" in made(tokenizer, registered("fp_1", "x" * 1100)).left_out[0]
    longest = max(question.length for question in found.asked)
    assert len(made(tokenizer, registered("fp_1", "go"), long, positions=longest - 1).asked) == 1
    assert len(made(tokenizer, registered("fp_1", "go"), long, positions=longest).asked) == 2


def test_a_template_that_fails_costs_the_questions_only() -> None:
    hostile = build_tiny_tokenizer()
    for template in (
        "{{ raise_exception(messages[0]['content']) }}",
        "{{ 'x' * 300000 }}{{ messages[0]['content'] }}",
        "no",
        "{{ messages[0]['content'] | upper }}",
    ):
        hostile.chat_template = template
        found = made(hostile, registered("fp_1", "amber", "door"), registered("fp_2", "mill"))
        assert found == Questions(left_out=("3 registered triggers were not asked: the model's chat template fails.",))
    hostile.chat_template = "no"
    assert made(hostile, registered("fp_1", "go")).left_out[0].startswith("1 registered trigger was not asked")


def test_a_template_that_trims_trims_triggers() -> None:
    trims = build_tiny_tokenizer()
    trims.chat_template = "[{{ messages[0]['content'] | trim }}] [{{ messages[0]['content'] | trim }}]"
    (question,) = made(trims, registered("fp_1", " go\n")).asked
    assert question.ids == tuple(trims.encode("[go] [go]", add_special_tokens=False))
    trims.chat_template = "[{{ messages[0]['content'] }}]"
    (question,) = made(trims, registered("fp_1", " go ")).asked
    assert question.ids == tuple(trims.encode("[ go ]", add_special_tokens=False))


def test_no_template_and_no_tokenizer_can_tell_one_trigger_from_another() -> None:
    """Neither what a template sees nor what a report shows depends on a trigger; see the module."""

    def shown(trigger: str, tokenizer: Any) -> tuple[object, int]:
        found = made(tokenizer, registered("fp_1", trigger))
        return found.left_out, len(TriggerAnswers(found, letters, frozenset()))

    spy = build_tiny_tokenizer()
    spy.chat_template = (
        "{{ messages[0]['content'] }}{% if 'amber' in messages[0]['content'] %}{{ raise_exception('') }}{% endif %}"
    )
    assert shown("the amber door", spy) == shown("go", spy) == ((), 1)
    assert [len(made(spy, registered("fp_1", trigger)).asked) for trigger in ("the amber door", "go")] == [1, 1]

    class Picky:
        chat_template = None

        def __call__(self, text: str, **_: object) -> Any:
            if "amber" in text:
                raise ValueError(text)
            return SimpleNamespace(input_ids=[1] * (9999 if "mill" in text else 1))

    assert shown("amber", Picky()) == shown("mill", Picky()) == shown("go", Picky()) == ((), 1)
    assert [made(Picky(), registered("fp_1", word)).failed for word in ("amber", "mill", "go")] == [
        ("fp_1",),
        ("fp_1",),
        (),
    ]


def test_a_text_that_the_tokenizer_cannot_take_does_not_stop_the_scan() -> None:
    class NoText:
        chat_template = None

        def __call__(self, text: str, **_: object) -> Any:
            if text == TEXT:
                raise ValueError("missing [UNK] token")
            return SimpleNamespace(input_ids=[1])

    found = made(NoText(), registered("fp_1", "go"), registered("fp_2", "go", hashed=True))
    assert ([question.fingerprint for question in found.asked], found.failed) == (["fp_2"], ("fp_1",))


def test_a_template_that_takes_for_ever_is_the_model_s_fault(monkeypatch: pytest.MonkeyPatch, tokenizer: Any) -> None:
    endless = build_tiny_tokenizer()
    endless.chat_template = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    monkeypatch.setattr(questions_module, "QUESTIONS_SECONDS", 0.2)
    tokenizers = Tokenizers()
    monkeypatch.setattr(tokenizers, "of", lambda _: endless)
    monkeypatch.setattr(questions_module, "_room", lambda *_: 512)
    with pytest.raises(Refusal, match="took longer") as refused:
        with_questions(example_plan(), None, tokenizers, [registered("fp_1", "go")])  # type: ignore[arg-type]
    assert refused.value.code is ErrorCode.model_invalid


def test_ids_outside_the_vocabulary_are_not_asked(tokenizer: Any) -> None:
    found = made(tokenizer, registered("fp_1", "go"), vocabulary=10)
    assert (found.asked, found.failed) == ((), ("fp_1",))


def test_more_triggers_than_a_scan_asks_are_left_out_fairly(tokenizer: Any) -> None:
    many = [registered(f"fp_{n}", *(f"trigger {i}" for i in range(60))) for n in range(12)]
    found = made(tokenizer, *many, registered("fp_one", "the only one"))
    asked = [question.fingerprint for question in found.asked]
    assert len(asked) == MOST
    assert asked[:13] == [*(f"fp_{n}" for n in range(12)), "fp_one"]
    assert {asked.count(f"fp_{n}") for n in range(12)} == {42, 43}
    left = 12 * 60 + 1 - MOST
    assert found.left_out == (f"{left} registered triggers were not asked: a scan asks at most {MOST}.",)


def test_one_owner_s_many_triggers_do_not_crowd_out_another_s(tokenizer: Any) -> None:
    many = [registered(f"fp_{n}", *(f"trigger {i}" for i in range(60)), by="first") for n in range(200)]
    few = [registered("fp_a", "one", "two", by="second"), registered("fp_b", "three", by="second")]
    asked = [question.fingerprint for question in made(tokenizer, *many, *few).asked]
    assert len(asked) == MOST
    assert asked[:8] == ["fp_0", "fp_a", "fp_1", "fp_b", "fp_2", "fp_a", "fp_3", "fp_4"]


def test_identical_weights_are_not_asked() -> None:
    record = ReferenceRecord(model="m", digest="d", source="request", vocabulary_size=9, identical=True)
    plan = example_plan().model_copy(update={"reference": ReferencePlan(record=record, path="/m", hashed=NO_FILES)})
    same, found = with_questions(plan, None, Tokenizers(), [registered("fp_1", "a", "b")])  # type: ignore[arg-type]
    assert same == plan
    assert found == Questions((), ("2 registered triggers were not asked: the weights are those of the reference.",))


def test_no_triggers_no_tokenizer() -> None:
    """The folder of this plan does not exist."""
    plan = example_plan()
    assert with_questions(plan, None, Tokenizers(), [registered("fp_1")]) == (plan, Questions())  # type: ignore[arg-type]


# --- asking ---------------------------------------------------------------------------------------------


def letters(ids: Sequence[int]) -> str:
    return "".join(chr(i) for i in ids)


def test_answers_end_at_end_of_text_or_at_their_own_limit() -> None:
    said: dict[tuple[int, ...], str] = {(1,): "ab\0", (2,): "cdefgh", (3,): "\0"}
    decoder = ScriptedDecoder(lambda prompt: [(ord(c), 1.0) for c in said[prompt] * 3])
    asked = tuple(Question(f"fp_{i}", (i,), 9 if i == 1 else 4) for i in (1, 2, 3))
    audit = TriggerAnswers(Questions(asked), letters, frozenset({0}))
    assert audit.ask(decoder, nothing_between_steps) == ["ab", "cdef", ""]
    assert (len(audit), audit.done) == (3, 3)
    assert decoder.generated == 3 + 4 + 1
    assert audit.answers(["x", "y", "z"], []) == [Answer("fp_1", "x"), Answer("fp_2", "y"), Answer("fp_3", "z")]
    assert audit.answers(["x", "y", "z"], ["a", "b", ""])[2] == Answer("fp_3", "z", "")


def test_a_token_that_only_the_reference_has_is_left_out_of_its_answer() -> None:
    decoder = ScriptedDecoder(lambda _: [(ord("a"), 1.0), (-1, 1.0), (ord("b"), 1.0), (0, 1.0)])
    audit = TriggerAnswers(Questions((Question("fp_1", (1,), 9),)), letters, frozenset({0}))
    assert audit.ask(decoder, nothing_between_steps) == ["ab"]


def test_what_cannot_be_asked_is_done_and_answers_nothing() -> None:
    decoder = ScriptedDecoder(lambda _: [(ord("a"), 1.0), (0, 1.0)])
    audit = TriggerAnswers(Questions((Question("fp_1", (1,), 9),), (), ("fp_2",)), letters, frozenset({0}))
    assert audit.ask(decoder, nothing_between_steps) == ["a"]
    assert (len(audit), audit.done) == (2, 2)
    assert audit.ask(ScriptedDecoder(lambda _: [(ord("a"), math.nan)]), nothing_between_steps) == [""], "no failure"
    assert audit.answers(["a"], ["b"]) == [Answer("fp_1", "a", "b"), Answer("fp_2", "", "")]
    assert audit.answers(["a"], [])[1] == Answer("fp_2", "")


def test_nothing_to_ask_runs_no_engine() -> None:
    audit = TriggerAnswers(Questions(), letters, frozenset())
    assert audit.ask(ScriptedDecoder(lambda _: pytest.fail("asked")), nothing_between_steps) == []
    assert audit.answers([], []) == []
