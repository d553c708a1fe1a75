"""The form of a bearer token, and what never shows its secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenforce_service.access.tokens import ALPHABET, ID_LENGTH, SECRET_LENGTH, Token, digest, new_token, parse
from tokenforce_service.refusals import without_secrets

KEY_IDS = st.text(ALPHABET, min_size=ID_LENGTH, max_size=ID_LENGTH)
SECRETS = st.text(ALPHABET, min_size=SECRET_LENGTH, max_size=SECRET_LENGTH)


@given(KEY_IDS, SECRETS)
def test_a_token_is_read_as_it_was_written(key_id: str, secret: str) -> None:
    token = Token(key_id, secret)
    assert parse(str(token)) == token


@given(KEY_IDS, SECRETS, st.text(max_size=40), st.text(max_size=40))
def test_no_secret_gets_into_a_log_or_a_repr(key_id: str, secret: str, before: str, after: str) -> None:
    token = Token(key_id, secret)
    assert secret not in repr(token)
    assert secret not in without_secrets(f"{before}{token}{after}")
    assert key_id in without_secrets(f"{before}{token}{after}")


@given(st.text(max_size=200))
def test_ordinary_texts_are_logged_as_they_are(text: str) -> None:
    if "tf_" not in text:
        assert without_secrets(text) == text


@given(st.text(max_size=100))
def test_what_is_no_token_is_none(text: str) -> None:
    token = parse(text)
    assert token is None or str(token) == text


GOOD = str(Token(ALPHABET[:ID_LENGTH], (2 * ALPHABET)[:SECRET_LENGTH]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tf_",
        "tf__",
        GOOD[:-1],
        GOOD + "x",
        GOOD + "\n",
        " " + GOOD,
        GOOD.replace("tf_", "tg_"),
        GOOD.replace("_", "-"),
        GOOD.replace("tf_", "TF_"),
        "tf_" + GOOD.split("_")[1],
        "tf__" + GOOD.split("_")[2],
        GOOD[:-1] + "é",
        GOOD[:-1] + "٣",
        GOOD * 100,
    ],
)
def test_malformed_tokens(text: str) -> None:
    assert parse(text) is None


def test_every_token_is_another_one() -> None:
    made = {new_token() for _ in range(200)}
    assert len({token.key_id for token in made}) == len({token.secret for token in made}) == 200
    assert all(parse(str(token)) == token for token in made)


def test_the_digest_is_sha_256() -> None:
    assert digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
