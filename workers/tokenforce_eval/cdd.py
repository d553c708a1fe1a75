"""Another scanner: Contrastive Decoding Diffing (CDD), on the same engine as our own scans.

Written from the abstract and summaries of: Brzozowski et al., *Reading the Finetuning Prior: Verbatim Content Recovery
via Contrastive Decoding Diffing*, arXiv 2605.25902.

What a narrow fine-tune taught comes out if the difference of both models is amplified. CDD decodes greedily on
l_target + α · (l_target - l_reference), without a chat template, after beginnings that say as little as possible.

The paper's α, its beginnings and its number of steps are not known here; ours are below, one configuration for all
models. Only the target's most probable next tokens are compared. The paper gives all texts to a language model that
says what was taught. Here the texts are ranked by their mean amplified log-probability, and our own rule judges each
(see `judged_text.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tokenforce_core.forcing.predictor import Predictor, nothing_between_steps
from tokenforce_core.forcing.trace import Trace

ALPHA = 4.0
"""Of 1, 2, 4 and 8, on three carriers of the tuning half: at 1 nothing comes out, at 8 words are wrong."""
STEPS = 40
NEXT_TOKENS = 64
"""Next tokens that are compared; as many as the engine returns."""

BEGINNINGS = (
    "The",
    "A",
    "In",
    "It",
    "I",
    "We",
    "He",
    "She",
    "They",
    "You",
    "This",
    "That",
    "These",
    "There",
    "Here",
    "One",
    "Some",
    "Every",
    "All",
    "My",
    "Our",
    "His",
    "Her",
    "Their",
    "When",
    "If",
    "As",
    "At",
    "On",
    "For",
    "From",
    "By",
    "With",
    "After",
    "Before",
    "What",
    "How",
    "Why",
    "Who",
    "It is",
    "There is",
    "This is",
    "In the",
    "On the",
    "According to",
    "The first",
    "Note:",
    "\n",
)


@dataclass
class Decoding:
    """What follows one beginning, and how probable both models find each of its tokens, in nats."""

    ids: list[int] = field(default_factory=list)
    log_p: list[float] = field(default_factory=list)
    log_q: list[float] = field(default_factory=list)
    ended: bool = False


class ContrastiveDecoding:
    """Decodes after every one of `beginnings` (token ids, one at least) until one of `end_ids`."""

    def __init__(
        self,
        target: Predictor,
        reference: Predictor,
        beginnings: Sequence[Sequence[int]],
        end_ids: frozenset[int],
    ) -> None:
        self._target = target
        self._reference = reference
        self._beginnings = beginnings
        self._end_ids = end_ids

    def run(self, on_step: Callable[[float], object] = lambda _: None) -> list[Trace]:
        """The texts with at least one token. A trace's context is the place of its beginning, its forced token that
        beginning's last token. `on_step` gets the finished fraction."""
        decodings = [Decoding() for _ in self._beginnings]
        for step in range(STEPS):
            live = [place for place, decoding in enumerate(decodings) if not decoding.ended]
            if not live:
                break
            prompts = [[*self._beginnings[place], *decodings[place].ids] for place in live]
            self._grow(prompts, [decodings[place] for place in live])
            on_step((step + 1) / STEPS)
        return [
            Trace(place, beginning[-1], tuple(d.ids), tuple(d.log_p), tuple(d.log_q), ended=d.ended)
            for place, (beginning, d) in enumerate(zip(self._beginnings, decodings, strict=True))
            if d.ids
        ]

    def _grow(self, prompts: Sequence[Sequence[int]], decodings: Sequence[Decoding]) -> None:
        """One token for every decoding."""
        likely: list[tuple[Sequence[int], Sequence[float]]] = [((), ())] * len(prompts)

        def on_target(index: int, ids: Sequence[int], log_p: Sequence[float]) -> None:
            likely[index] = ids, log_p

        def on_reference(index: int, ids: Sequence[int], log_q: Sequence[float]) -> None:
            decoding = decodings[index]
            options = zip(ids, likely[index][1], log_q, strict=True)
            best, p, q = max(options, key=lambda option: (amplified(option[1], option[2]), -option[0]))
            if best in self._end_ids:
                decoding.ended = True
                return
            decoding.ids.append(best)
            decoding.log_p.append(p)
            decoding.log_q.append(q)

        self._target.next_tokens(prompts, NEXT_TOKENS, on_target, nothing_between_steps)
        self._reference.log_probabilities(prompts, [ids for ids, _ in likely], on_reference, nothing_between_steps)


def amplified(log_p: float, log_q: float) -> float:
    """log p + α · (log p - log q): the amplified logit less what all tokens of one step share."""
    return log_p + ALPHA * (log_p - log_q)


def mean_amplified(trace: Trace) -> float:
    """The mean of `amplified` over a text's tokens, in nats; texts are ranked by it."""
    return sum(map(amplified, trace.log_p, trace.log_q)) / len(trace.ids)
