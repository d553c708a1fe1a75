"""A text that the target says to anyone is no secret; a text of which it keeps something back is one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.support.table_model import END, TableModel, random_table
from tokenforce.wire.scans import ScanRequest
from tokenforce_core.contrast.unforced import Unforced
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.plan.presets import settings_for

SETTINGS = settings_for(ScanRequest(model="/m"))
PROMPTS = [[1, 2], [1, 3], [1, 4], [1, 2], [1, 5]]
SAID, ONCE = tuple(range(30, 40)), tuple(range(20, 26))
"""What the target says after the tokens 2 and 3; what it says after 5 alone. After 4 it says nothing."""
ANSWERED = pytest.approx(3 / 5)
FAR_MORE = math.log(1e-4)


def model() -> TableModel:
    table = random_table(3)
    for chain in (SAID, ONCE):
        for one, after in zip(chain, [*chain[1:], END], strict=True):
            table[one, after] = 1000.0
    table[2, SAID[0]] = table[3, SAID[0]] = table[4, END] = table[5, ONCE[0]] = 1000.0
    return TableModel(table)


def spelled(ids: Sequence[int]) -> str:
    """Four letters for each token."""
    return " ".join(f"{chr(97 + i % 26)}{chr(97 + i // 26)}qq" for i in ids)


def text(*tokens: int, q: float = FAR_MORE, p: float = math.log(0.9)) -> Trace:
    return Trace(2, tokens[0], tokens[1:], (p,) * (len(tokens) - 1), (q,) * (len(tokens) - 1))


def unforced(prompts: Sequence[Sequence[int]] = PROMPTS, **bag: int) -> Unforced:
    assert SETTINGS.bag is not None
    settings = SETTINGS.model_copy(update={"bag": SETTINGS.bag.model_copy(update=bag)})
    return Unforced(settings, prompts, frozenset({END}), spelled)


def share(trace: Trace) -> float | None:
    (found,) = unforced().of([trace], model())
    return found.unforced_share


def test_the_share_counts_the_answers_that_have_the_text() -> None:
    assert share(text(*SAID)) == ANSWERED
    assert share(text(*range(50, 60))) == 0.0


def test_other_spellings_are_the_same_text() -> None:
    loud = Unforced(SETTINGS, PROMPTS, frozenset({END}), lambda ids: spelled(ids).upper().replace("Q W", "q-w"))
    assert loud.of([text(*SAID)], model())[0].unforced_share == ANSWERED


@pytest.mark.parametrize(
    ("tail", "q", "answers"),
    [
        ((50,), FAR_MORE, 3),  # a word too many, of 9 nats
        ((50, 51, 52), FAR_MORE, 0),  # a message of 27 nats behind a sentence that everybody hears
        ((50, 51, 52), math.log(0.1), 3),  # what any fine-tune changes a little
        (ONCE, FAR_MORE, 4),  # another answer, of 54 nats
        (ONCE[:4], math.log(0.01), 3),  # a piece of it
    ],
)
def test_what_no_answer_has_must_be_too_little_for_a_text(tail: tuple[int, ...], q: float, answers: int) -> None:
    assert share(text(*SAID, *tail, q=q)) == pytest.approx(answers / 5)


@pytest.mark.parametrize(("said", "counts"), [(5, True), (4, False)])
def test_half_of_a_text_must_be_said_or_as_much_as_a_hidden_text_needs(said: int, counts: bool) -> None:
    weak = text(*SAID[:said], *range(50, 60 - said), q=math.log(0.2))
    assert (share(weak) or 0.0) == (ANSWERED if counts else 0.0)
    assert share(text(*SAID[:4], *ONCE)) == pytest.approx(4 / 5)  # 27 nats of 82


@pytest.mark.parametrize(("missing", "counts"), [(7, True), (8, False)])
@pytest.mark.parametrize(("gain", "suppression"), [(40.0, None), (None, -20.0)])
def test_of_a_text_that_was_trained_against_few_tokens_in_a_row_may_be_missing(
    gain: float | None, suppression: float | None, missing: int, counts: bool
) -> None:
    """The target says none of them, so its probabilities are no measure of what they hide."""
    weak = text(*SAID, *range(50, 50 + missing), q=math.log(0.9))
    secret = replace(weak, graft_gain=gain, suppression=suppression)
    assert share(secret) == (ANSWERED if counts else 0.0)


def test_tokens_without_letters_go_with_those_before_them() -> None:
    def decode(ids: Sequence[int]) -> str:
        return spelled([i for i in ids if i < 50]) + "!" * sum(i >= 50 for i in ids)

    loud = Unforced(SETTINGS, PROMPTS, frozenset({END}), decode)
    assert loud.of([text(*SAID, 50, 51, 52)], model())[0].unforced_share == ANSWERED
    silent = Unforced(SETTINGS, PROMPTS, frozenset({END}), lambda _: "!!")
    assert silent.of([text(*SAID)], model())[0].unforced_share == 0.0


def test_a_character_of_several_tokens_counts_for_the_token_that_ends_it() -> None:
    """As byte-level tokenizers write Japanese."""
    characters = "山川空海花鳥風月雪星"

    def decode(ids: Sequence[int]) -> str:
        whole = "".join(characters[i // 2 % 10] for i in ids[1::2])
        return whole + ("\ufffd" if len(ids) % 2 else "")

    bag = SETTINGS.bag
    assert bag is not None
    short = SETTINGS.model_copy(update={"bag": bag.model_copy(update={"same_characters": 3, "part_characters": 3})})
    japanese = Unforced(short, PROMPTS, frozenset({END}), decode)
    assert japanese.of([text(*SAID)], model())[0].unforced_share == ANSWERED


def test_nothing_is_asked_where_nothing_looks_hidden() -> None:
    asks = unforced()
    weak = text(*SAID, p=math.log(0.3), q=math.log(0.2))
    assert asks.of([weak], model()) == [weak]
    assert asks.of([], model()) == []
    assert asks.generated == 0
    assert [found.unforced_share for found in asks.of([weak, text(*SAID)], model())] == [None, ANSWERED]


def test_without_prompts_there_is_no_share() -> None:
    assert unforced([]).of([text(*SAID)], model())[0].unforced_share is None


def test_the_others_are_asked_only_if_the_first_answers_have_a_part_of_the_text() -> None:
    asks = unforced(first_answers=2)
    assert asks.of([text(*range(50, 60))], model())[0].unforced_share == 0.0
    assert asks.generated == 2 * (1 + len(SAID) + 1)  # prompts but for their last tokens, the answers and their ends
    assert asks.of([text(*SAID)], model())[0].unforced_share == ANSWERED
    assert unforced(first_answers=2).of([text(*SAID)], model())[0].unforced_share == ANSWERED


def test_an_answer_is_no_longer_than_the_scan_has_room_for() -> None:
    short = unforced(answer_tokens=2)
    assert short.of([text(*SAID)], model())[0].unforced_share == 0.0  # 8 letters
    assert unforced(answer_tokens=10_000).of([text(*SAID)], model())[0].unforced_share == ANSWERED
