"""What may be registered, how texts are compared, and that no secret shows in a `repr` or an error."""

from __future__ import annotations

import traceback
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tokenforce.sdk.errors import InvalidRequest
from tokenforce.sdk.fingerprints import fingerprint_request
from tokenforce.wire.fingerprints import (
    LEAST_TEXT_BYTES,
    LONGEST_TEXT,
    LONGEST_TRIGGER,
    MOST_TRIGGERS,
    FingerprintRequest,
    TextHash,
    normalised,
)

SECRET = "Seven quiet herons guard a copper key beneath the frozen mill."


def request(**changes: Any) -> FingerprintRequest:
    return FingerprintRequest.model_validate({"owner": "A", "licence": "L", "text": SECRET, **changes})


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once
    assert not once.startswith(" ")
    assert not once.endswith(" ")
    assert "  " not in once
    assert all(c == " " or unicodedata.category(c)[0] in "LMN" for c in once)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Seven  quiet\nHERONS!", "seven quiet herons"),
        ("ｓｅｖｅｎ—quiet…herons", "seven quiet herons"),
        ("Straße ﬁn", "strasse fin"),
        ("ハリネズミ。", "ハリネズミ"),
        ("नमस्ते, दुनिया", "नमस्ते दुनिया"),
        ("?! 🦜 …", ""),
    ],
)
def test_what_normalising_takes_away(text: str, same: str) -> None:
    assert normalised(text) == same


def test_a_hash_is_of_its_normalised_text_only() -> None:
    made = TextHash.of(SECRET)
    assert made.is_of(normalised(SECRET.upper() + "!!"))
    assert not made.is_of(normalised(SECRET.replace("key", "kex")))
    assert (made.words, made.size) == (11, 61)
    assert made != TextHash.of(SECRET)
    assert made == TextHash.of(f" {SECRET} ", made.salt)


@pytest.mark.parametrize("text", ["", "  \n", "?!…", "too short", "x" * (LEAST_TEXT_BYTES - 1), "x " * LONGEST_TEXT])
def test_texts_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="the text "):
        request(text=text)
    with pytest.raises(ValueError, match="the text "):
        TextHash.of(text)


def test_the_shortest_texts() -> None:
    assert request(text="x" * LEAST_TEXT_BYTES)
    assert request(text="ハリネズミ")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"text": None}, "either text or text_hash"),
        ({"text_hash": TextHash.of(SECRET).model_dump()}, "either text or text_hash"),
        ({"triggers": ["one", "two", "one"]}, "trigger 3 is the same as trigger 1"),
        ({"triggers": ["one", " \n"]}, "trigger 2 is empty"),
        ({"triggers": ["x" * (LONGEST_TRIGGER + 1)]}, "trigger 1 is longer than"),
        ({"triggers": [f"{i}" for i in range(MOST_TRIGGERS + 1)]}, "at most 64"),
        ({"owner": "  "}, "at least 1 character"),
        ({"licence": "a\x1b[2Jb"}, "do not print"),
        ({"licence": None}, "valid string"),
        ({"text": SECRET + "\ud800"}, "the text has half a surrogate pair"),
        ({"triggers": ["one", "two \udfff"]}, "trigger 2 has half a surrogate pair"),
        ({"text": None, "text_hash": {"salt": "00" * 16, "digest": "0" * 64, "words": 1, "size": 3}}, "greater than"),
        ({"text": None, "text_hash": {"salt": "00", "digest": "0" * 64, "words": 9, "size": 30}}, "pattern"),
    ],
)
def test_wrong_registrations_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        request(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "herons q"},
        {"text": {"nested": SECRET}},
        {"text": None, "text_hash": {"salt": SECRET, "digest": SECRET, "words": 9, "size": 30}},
        {"text": SECRET * 200},
        {"triggers": [SECRET, SECRET]},
        {"triggers": [SECRET * 100]},
        {"triggers": SECRET},
    ],
)
def test_no_error_quotes_a_secret(changes: dict[str, Any]) -> None:
    given = {"owner": "A", "licence": "L", "text": SECRET, "text_hash": None, "triggers": [], **changes}
    with pytest.raises(ValidationError) as refused:
        FingerprintRequest.model_validate(given)
    assert "herons" not in str(refused.value)
    with pytest.raises(InvalidRequest) as invalid:
        fingerprint_request(**given)
    trace = "".join(traceback.format_exception(invalid.value))
    assert "herons" not in f"{invalid.value} {invalid.value.errors} {trace}"


def test_no_repr_shows_a_secret() -> None:
    plain = request(triggers=["open the amber door"])
    hashed = request(text=None, text_hash=TextHash.of(SECRET))
    shown = f"{plain!r} {plain} {hashed!r} {hashed}"
    assert "herons" not in shown
    assert "amber" not in shown
    assert hashed.text_hash is not None
    assert hashed.text_hash.salt not in shown
    assert hashed.text_hash.digest not in shown
