"""Which pairs of tokens the search starts from."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from tests.support.contrasting import contrasted
from tests.support.table_model import END, TableModel, random_table
from tokenforce_core.contrast.links import links_of
from tokenforce_core.plan.search_settings import SEARCH

LINKS = SEARCH.links
TOP = SEARCH.entries.next_tokens


def test_links_never_lead_to_an_end_and_are_few() -> None:
    target, base = TableModel(random_table(1)), TableModel(random_table(2))
    links = contrasted(target, base).links
    assert END not in {link.next_id for link in links}
    assert [link.log_ratio for link in links] == sorted((link.log_ratio for link in links), reverse=True)
    assert all(link.log_ratio > 0 and link.log_p >= math.log(LINKS.min_probability) for link in links)
    assert len({(link.forced_id, link.next_id) for link in links}) == len(links)
    assert max(Counter(link.forced_id for link in links).values()) <= LINKS.per_entry + 1


def test_an_entry_that_stands_out_is_entered_however_many_links_are_stronger() -> None:
    entries = 2 * LINKS.per_shard + 10
    ids = np.arange(TOP)[None, :].repeat(entries, axis=0) + 1
    target = np.full((entries, TOP), math.log(0.01), dtype=np.float32)
    reference = np.full((entries, TOP), math.log(0.01) - 5, dtype=np.float32)
    reference[0] = math.log(0.01) - 1
    reference[0, 3] -= 1
    forced = list(range(1000, 1000 + entries))
    without = links_of(0, forced, ids, target, reference, frozenset({END}), LINKS)
    assert 1000 not in {link.forced_id for link in without}
    found = links_of(0, forced, ids, target, reference, frozenset({END}), LINKS, outliers={1000})
    assert [(link.forced_id, link.next_id) for link in found if link not in without] == [(1000, 4)]
