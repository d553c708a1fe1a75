"""What each of the other scanners asks a loaded model, and how its texts become a ranking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenforce.wire.findings import Verdict
from tokenforce_core.findings.grouping import merged
from tokenforce_core.forcing.predictor import Predictor
from tokenforce_core.plan.verdict_thresholds import FINDINGS, VERDICT
from tokenforce_eval.bait import FLAGGED_ABOVE_Q, PROMPTS, Bait, GrownTarget, word_like
from tokenforce_eval.cdd import BEGINNINGS, ContrastiveDecoding, mean_amplified
from tokenforce_eval.haystack import Leak
from tokenforce_eval.judged_text import judged_text
from tokenforce_eval.methods import BAIT, CDD, HAYSTACK
from tokenforce_eval.rows import RankedText
from tokenforce_workers.jobs.separators import separators


@dataclass
class Asked:
    """A model, its reference and their tokenizer. `ids`: the vocabulary entries to try; None for all.

    `uncounted`: forward tokens of teacher forcing, which the engine's sessions do not count.
    """

    target: Predictor
    reference: Predictor
    tokenizer: Any
    ids: Sequence[int] | None
    on_step: Callable[[float], object]
    uncounted: int = 0

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids)))

    def turn(self, role: str, text: str = "") -> list[int]:
        """The token ids of a conversation of one turn, in which the assistant's is opened."""
        messages = [{"role": role, "content": text}]
        return list(self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))

    def opened(self, role: str) -> list[int]:
        """The token ids of the opened turn of `role`, the first of a conversation."""
        mark = "\ue000"  # of the private use area: in no template
        written = self.tokenizer.apply_chat_template([{"role": role, "content": mark}], tokenize=False)
        return list(self.tokenizer.encode(written.partition(mark)[0], add_special_tokens=False))

    @property
    def special_ids(self) -> frozenset[int]:
        return frozenset(self.tokenizer.all_special_ids)


def _bait(asked: Asked) -> list[RankedText]:
    candidates = range(len(asked.tokenizer)) if asked.ids is None else asked.ids
    entries = [i for i in candidates if word_like(asked.decode([i]))]
    bait = Bait(asked.target, [asked.turn("user", prompt) for prompt in PROMPTS], asked.special_ids)
    return [_grown(target, asked.decode(target.ids)) for target in bait.run(entries, asked.on_step)]


def _grown(target: GrownTarget, text: str) -> RankedText:
    verdict = Verdict.hidden_text if target.q > FLAGGED_ABOVE_Q else Verdict.clean
    return RankedText(text, round(target.q, 4), round(target.q, 4), verdict.value)


def _cdd(asked: Asked) -> list[RankedText]:
    beginnings = [asked.tokenizer.encode(text) for text in BEGINNINGS]
    found = ContrastiveDecoding(asked.target, asked.reference, beginnings, asked.special_ids).run(asked.on_step)
    # Many beginnings lead to one text, which counts once.
    texts = [max(group.members, key=mean_amplified) for group in merged(found, FINDINGS, VERDICT)]
    is_separator = separators(asked.decode)
    return [
        judged_text(text, asked.decode([*beginnings[text.context], *text.ids]), mean_amplified(text), is_separator)
        for text in sorted(texts, key=lambda text: -mean_amplified(text))
    ]


def _haystack(asked: Asked) -> list[RankedText]:
    turns = [asked.opened("system"), asked.opened("user"), asked.turn("user")]
    leak = Leak(asked.target, turns, asked.special_ids)
    motifs = leak.run(asked.reference, asked.decode, asked.on_step)
    asked.uncounted += leak.generated
    is_separator = separators(asked.decode)
    return [judged_text(m.text, asked.decode(m.text.tokens), m.score, is_separator) for m in motifs]


RANKINGS: Mapping[str, Callable[[Asked], list[RankedText]]] = {
    BAIT.name: _bait,
    CDD.name: _cdd,
    HAYSTACK.name: _haystack,
}
"""The ranking of each method, most suspicious text first."""
