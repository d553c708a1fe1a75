"""Splicing versions of a text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tokenforce_core.contrast.splicing import spliced
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.plan.search_settings import BAG


def version(tokens: str, gains: str) -> Trace:
    """A token for each letter; a gain of 2 nats for each `+`, of -1 for each `-`, one fewer than letters."""
    log_q = tuple({"+": -2.0, "-": 1.0}[each] for each in gains)
    return Trace(2, ord(tokens[0]), tuple(map(ord, tokens[1:])), (0.0,) * len(gains), log_q)


def said(texts: list[Trace]) -> list[str]:
    return ["".join(map(chr, text.tokens)) for text in texts]


def test_the_head_of_one_version_and_the_tail_of_another_make_the_text() -> None:
    head = version("abcdexyz", "++++---")
    tail = version("uvwdefgh", "---++++")
    best = spliced([head, tail], BAG)[0]
    assert said([best]) == ["abcdefgh"]
    assert best.gain == 14
    assert best.log_q == (-2.0,) * 7


def test_three_versions_are_joined_in_two_rounds() -> None:
    parts = [version("abcdxy", "+++--"), version("udefgxy", "-+++--"), version("ughijk", "-++++")]
    assert said(spliced(parts, BAG))[0] == "abcdefghijk"


def test_what_would_gain_no_more_than_a_version_is_left_out() -> None:
    assert spliced([version("abcdef", "+++++"), version("xycdef", "--+++")], BAG) == []


def test_no_spliced_text_is_longer_than_a_text_of_the_search() -> None:
    settings = BAG.model_copy(update={"max_tokens": 6})
    assert all(
        len(text.ids) <= 6 for text in spliced([version("abcdexy", "++++--"), version("uvdefgh", "--++++")], settings)
    )


def test_versions_that_share_nothing_stay_apart() -> None:
    assert spliced([version("abc", "++"), version("xyz", "++")], BAG) == []


WORDS = st.lists(st.sampled_from("abcdef"), min_size=3, max_size=8)


@given(st.lists(WORDS, min_size=1, max_size=5))
def test_each_spliced_text_is_made_of_its_versions_alone(
    words: list[list[str]],
) -> None:
    versions = [version("".join(each), "+" * (len(each) - 1)) for each in words]
    pairs = {each[i : i + 2] for each in said(versions) for i in range(len(each) - 1)}
    for text in spliced(versions, BAG):
        (written,) = said([text])
        assert {written[i : i + 2] for i in range(len(written) - 1)} <= pairs
        assert len(text.ids) == len(text.log_p) == len(text.log_q)
