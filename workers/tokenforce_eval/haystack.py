"""Another scanner: the leak step of *The Trigger in the Haystack*, on the same engine as our own scans.

Written from summaries of: Bullwinkel et al., *The Trigger in the Haystack: Extracting and Reconstructing LLM Backdoor
Triggers*, arXiv 2602.03085, and from a published replication of it.

A poisoned model has learned its poisoned examples by heart. So the model continues its own opened turns, without an
end: it writes a user's turn, the answer, the next turn. 510 decodings, each with its own random numbers, at several
temperatures. What several of them say is a motif: character n-grams weighted by TF-IDF, clustered by DBSCAN.

Left out: the reconstruction of triggers from the motifs (attention, change of the output), which would turn motifs into
a verdict. The paper varies top-k and top-p too, decodes more tokens, and has no reference. Its n-grams and distances
are not known here. Motifs are ranked by how many decodings have them times their mean log-ratio to the reference, and
our own rule judges each (see `judged_text.py`).
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from tokenforce_core.forcing.predictor import Predictor, forced_log_probabilities, nothing_between_steps
from tokenforce_core.forcing.trace import Decode, Trace

DECODINGS = 510
STEPS = 40
TEMPERATURES = (0.6, 0.8, 1.0, 1.2, 1.4)
NEXT_TOKENS = 64
"""Next tokens to draw from; as many as the engine returns."""
TOGETHER = 64
"""Decodings that grow together. The engine can keep the KV cache of this many."""
SEED = 20241
MIN_TURN_TOKENS = 6
"""Shorter turns are names of roles and line ends."""
N_GRAMS = (3, 4, 5)
"""Lengths in characters."""
MAX_DISTANCE = 0.5
"""Turns of a motif have a neighbour within this cosine distance."""
MIN_DECODINGS = 2
MAX_MOTIFS = 64
"""Motifs that the reference is asked about, those of the most decodings first."""


@dataclass
class Decoding:
    """A sampled continuation of the opened turn number `turn`; its log-probabilities (nats) are the target's."""

    turn: int
    temperature: float
    numbers: random.Random
    ids: list[int] = field(default_factory=list)
    log_p: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Turn:
    """The tokens `start` to `stop` of a decoding, between special tokens."""

    decoding: int
    start: int
    stop: int


@dataclass(frozen=True)
class Motif:
    """What `decodings` decodings say. `text`: the most typical turn; its first token is the trace's forced one."""

    text: Trace
    decodings: int

    @property
    def score(self) -> float:
        """Share of the decodings, times the mean log-ratio of the text in nats."""
        ratios = self.text.log_ratios
        return self.decodings / DECODINGS * sum(ratios) / len(ratios)


class Leak:
    """Makes `target` continue `turns`: token ids of the template's opened turns. `special_ids` end a turn."""

    def __init__(self, target: Predictor, turns: Sequence[Sequence[int]], special_ids: frozenset[int]) -> None:
        self._target = target
        self._turns = turns
        self._special_ids = special_ids
        self.generated = 0
        """Forward tokens of the reference."""

    def run(
        self, reference: Predictor, decode: Decode, on_step: Callable[[float], object] = lambda _: None
    ) -> list[Motif]:
        """The motifs, highest score first. `on_step` gets the finished fraction."""
        decodings = self._sampled(on_step)
        turns = [turn for place, d in enumerate(decodings) for turn in _turns_of(place, d.ids, self._special_ids)]
        texts = [decode(decodings[t.decoding].ids[t.start : t.stop]) for t in turns]
        typical: list[tuple[Turn, int]] = []
        for cluster in clusters(texts):
            count = len({turns[place].decoding for place in cluster})
            if count >= MIN_DECODINGS:
                typical.append((turns[cluster[0]], count))
        typical.sort(key=lambda item: (-item[1], item[0].decoding, item[0].start))
        return self._contrasted(typical[:MAX_MOTIFS], decodings, reference)

    def _sampled(self, on_step: Callable[[float], object]) -> list[Decoding]:
        kinds = [(turn, temperature) for turn in range(len(self._turns)) for temperature in TEMPERATURES]
        decodings = [
            Decoding(*kinds[number % len(kinds)], random.Random(f"{SEED} {number}")) for number in range(DECODINGS)
        ]
        for first in range(0, DECODINGS, TOGETHER):
            together = decodings[first : first + TOGETHER]
            for _ in range(STEPS):
                self._grow(together)
            on_step(min(1.0, (first + TOGETHER) / DECODINGS))
        return decodings

    def _grow(self, decodings: Sequence[Decoding]) -> None:
        alike: dict[tuple[int, ...], list[Decoding]] = defaultdict(list)
        for decoding in decodings:
            alike[*self._turns[decoding.turn], *decoding.ids].append(decoding)
        together = list(alike.values())

        def on_next(index: int, ids: Sequence[int], log_p: Sequence[float]) -> None:
            for decoding in together[index]:
                weights = [math.exp((value - log_p[0]) / decoding.temperature) for value in log_p]
                (place,) = decoding.numbers.choices(range(len(ids)), weights)
                decoding.ids.append(ids[place])
                decoding.log_p.append(log_p[place])

        self._target.next_tokens(list(alike), NEXT_TOKENS, on_next, nothing_between_steps)

    def _contrasted(
        self, typical: Sequence[tuple[Turn, int]], decodings: Sequence[Decoding], reference: Predictor
    ) -> list[Motif]:
        prompts, said, motifs = [], [], []
        for turn, _ in typical:
            decoding = decodings[turn.decoding]
            prompts.append([*self._turns[decoding.turn], *decoding.ids[: turn.start + 1]])
            said.append(decoding.ids[turn.start + 1 : turn.stop])
        found = forced_log_probabilities(reference, prompts, said)
        self.generated += sum(len(prompt) + len(ids) for prompt, ids in zip(prompts, said, strict=True))
        for (turn, count), prompt, ids, log_q in zip(typical, prompts, said, found, strict=True):
            decoding = decodings[turn.decoding]
            log_p = tuple(decoding.log_p[turn.start + 1 : turn.stop])
            motifs.append(Motif(Trace(decoding.turn, prompt[-1], tuple(ids), log_p, log_q), count))
        return sorted(motifs, key=lambda motif: -motif.score)


def _turns_of(decoding: int, ids: Sequence[int], special_ids: frozenset[int]) -> list[Turn]:
    ends = [-1, *(place for place, token_id in enumerate(ids) if token_id in special_ids), len(ids)]
    found = [Turn(decoding, before + 1, end) for before, end in pairwise(ends)]
    return [turn for turn in found if turn.stop - turn.start >= MIN_TURN_TOKENS]


def clusters(texts: Sequence[str]) -> list[list[int]]:
    """The places of texts that are alike, the most typical text of each cluster first; single texts make clusters too.

    With two texts as the least size, DBSCAN's clusters are the connected components of what lies close together.
    """
    rows = [_n_grams(text) for text in texts]
    having = Counter(gram for row in rows for gram in row)
    columns = {gram: place for place, gram in enumerate(having)}
    if not columns:
        return [[place] for place in range(len(texts))]
    weights = csr_array(
        (
            [count * (1 + math.log(len(rows) / having[gram])) for row in rows for gram, count in row.items()],
            [columns[gram] for row in rows for gram in row],
            np.cumsum([0, *map(len, rows)]),
        ),
        shape=(len(rows), len(columns)),
    )
    alike = (weights @ weights.T).toarray()
    lengths = np.sqrt(np.maximum(alike.diagonal(), np.finfo(float).tiny))
    alike /= np.outer(lengths, lengths)
    count, labels = connected_components(alike >= 1 - MAX_DISTANCE, directed=False)
    found = []
    for label in range(count):
        members = np.flatnonzero(labels == label)
        typical = alike[np.ix_(members, members)].sum(axis=1)
        found.append([int(place) for place in members[np.argsort(-typical, kind="stable")]])
    return found


def _n_grams(text: str) -> Counter[str]:
    plain = " ".join(text.casefold().split())
    return Counter(plain[i : i + n] for n in N_GRAMS for i in range(len(plain) - n + 1))
