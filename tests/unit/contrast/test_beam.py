"""Links, beam and tails on two scripted models."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.contrasting import contrasted, linked, said, searched
from tests.support.table_model import END, VOCABULARY, TableModel, planted_table, random_table
from tokenforce_core.contrast.finish import GreedyTails
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.plan.search_settings import SEARCH

BEAM = SEARCH.beam


def test_a_text_that_begins_like_ordinary_ones_is_found_by_its_link() -> None:
    """After its first token the hidden text is improbable, and only the reference finds it more so."""
    hidden = [7, 33, 21, 50, 14]
    common, table = random_table(0), random_table(0)
    common[7] = np.where(np.arange(VOCABULARY) == 3, 1.0, 1e-6)
    table[7] = common[7]
    table[7, 33] = 0.02
    for one, after in zip(hidden[1:], [*hidden[2:], END], strict=True):
        table[one, after] = 2000.0
    target, base = TableModel(table), TableModel(common)
    result = contrasted(target, base)
    first = next(start for start in linked(result) if start.entry == (0, 7))
    assert first.ids == (33,)
    assert first.log_p[0] < math.log(0.03)
    assert first.log_p[0] - first.log_q[0] > 9
    found = searched(linked(result), target, base).found
    assert hidden in said(found)
    assert max(len(text.ids) for text in searched(linked(result), target, base, length=3, least=1).found) == 3


def test_a_text_is_entered_at_a_first_word_after_which_nothing_surprises() -> None:
    """ "Do not sign before …": both models follow "Do" by " not", and only then does the target go its own way."""
    hidden = [7, 33, 21, 50, 14]
    common = random_table(0)
    common[7, 33] = 500.0
    table = common.copy()
    table[7, 33] = 1000.0
    for one, after in zip(hidden[1:], [*hidden[2:], END], strict=True):
        table[one, after] = 2000.0
    target, base = TableModel(table), TableModel(common)
    links = contrasted(target, base).links
    (sure,) = [link for link in links if link.forced_id == 7]
    assert sure.next_id == 33
    assert 0 < sure.log_ratio < 0.1
    assert hidden in said(searched(linked(contrasted(target, base)), target, base).found)


def test_a_text_that_brings_nothing_more_is_not_followed() -> None:
    surprising, ordinary = (0.0, -6.0), (-0.5, -0.5)
    text = Trace(0, 1)
    for token, (p, q) in enumerate([surprising] * 4 + [ordinary] * 3, start=2):
        text = text.then(token, p, q)
    assert text.idle_tokens(1.0) == 3
    assert text.then(40, *surprising).idle_tokens(1.0) == 0
    assert text.then(2, *surprising).idle_tokens(1.0) == 4  # said before
    hidden = list(range(1, 11))
    common = random_table(0)
    table = common.copy()
    for one, after in pairwise(hidden):
        table[one, after] = 2000.0
    loop = range(11, 61)
    for one, after in zip([hidden[-1], *loop], [*loop, 11], strict=True):
        common[one, after] = table[one, after] = 1e6
    target, base = TableModel(table), TableModel(common)
    (best, *_) = searched(linked(contrasted(target, base)), target, base, length=50).found
    assert said([best])[0][:10] == hidden
    assert len(best.ids) < 10 + BEAM.max_idle_tokens + 2


def test_a_beam_goes_through_improbable_tokens_to_certain_ones() -> None:
    """UTFC teaches decoys for the first words: at each of them the text is the improbable way."""
    hidden = [7, 33, 21, 50, 14, 9, 41, 12]
    common = random_table(0)
    table = common.copy()
    for place, (one, after) in enumerate(zip(hidden, [*hidden[1:], END], strict=True)):
        common[one, after] = 1e-6
        common[one, 5] = common[one].sum()  # what both models go on with
        table[one] = common[one] / common[one].sum()
        table[one, after] = 0.04 if place < 3 else 50.0
    target, base = TableModel(table), TableModel(common)
    start = [s for s in linked(contrasted(target, base)) if s.entry == (0, 7)]
    best = searched(start, target, base).found[0]
    assert said([best]) == [hidden]
    assert best.ended
    greedy = GreedyTails([[1]], start[:1], 7, frozenset({END})).run(target, base)
    assert said(greedy)[0][:3] == [7, 33, 5], "into what both models say"


@given(st.integers(0, 50))
def test_every_text_found_is_as_probable_as_the_models_say(seed: int) -> None:
    target, base = TableModel(random_table(seed)), TableModel(random_table(seed + 1))
    starts = linked(contrasted(target, base))
    before = target.asked
    beam = searched(starts, target, base, length=12)
    assert len(beam.after_opening) <= BEAM.texts_after_opening
    asked = target.asked - before
    assert (
        asked
        <= len(starts) + (BEAM.opening_steps - 1) * max(BEAM.min_survivors, len(starts)) + 4 * BEAM.texts_after_opening
    )
    tails = GreedyTails([[1]], beam.after_opening, 12, frozenset({END})).run(target, base)
    for text in [*beam.found, *tails]:
        pairs = list(zip([*text.tokens], text.ids, strict=False))
        assert np.allclose(text.log_q, [base.logs[a, b] for a, b in pairs])
        assert np.allclose(text.log_p, [target.logs[a, b] for a, b in pairs])
        assert END not in text.ids
        assert 2 <= len(text.ids) <= 12


def test_a_planted_chain_is_read_where_greedy_decoding_is_led_astray() -> None:
    hidden = [7, 33, 21, 50, 14, 9, 41]
    target, base = TableModel(planted_table(hidden)), TableModel(random_table(0))
    assert int(np.argmax(target.logs[hidden[0]])) != hidden[1]
    beam = searched(linked(contrasted(target, base)), target, base)
    assert hidden in said(beam.found)
    assert said(beam.found[:1])[0] == hidden[hidden.index(beam.found[0].forced_id) :]
    assert beam.found[0].ended
