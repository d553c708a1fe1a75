"""Asks a model the triggers of the registered fingerprints, in its own template. Part of the confirm job."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import zip_longest

from tokenforce_core.fingerprints.matching import Answer
from tokenforce_core.fingerprints.questions import Questions
from tokenforce_core.forcing.predictor import BetweenSteps, Decoder


class TriggerAnswers:
    """One scan's questions; `done` (questions times models) counts them when a model has answered all.

    Neither each of them nor its forward tokens are told: what the upload's tokenizer makes of a secret, and where its
    answer ends, is nobody's business.

    Args:
        decode: the target's token ids → text.
        end_ids: what ends an answer.
    """

    def __init__(self, questions: Questions, decode: Callable[..., str], end_ids: frozenset[int]) -> None:
        self._asked = questions.asked
        self._failed = questions.failed
        self._decode = decode
        self._end_ids = end_ids
        self.done = 0

    def __len__(self) -> int:
        return len(self._asked) + len(self._failed)

    def ask(self, decoder: Decoder, between_steps: BetweenSteps) -> list[str]:
        """The greedy answer to each question, without what ends it; none if there are no questions."""
        if not self._asked:
            self.done += len(self)
            return []
        said: list[list[int]] = [[] for _ in self._asked]

        def on_token(index: int, token_id: int, log_probability: float) -> bool:
            # A NaN ends the answer, not the scan: an upload could have it tell which trigger has which token.
            if token_id in self._end_ids or math.isnan(log_probability):
                return False
            said[index].append(token_id)
            return len(said[index]) < self._asked[index].max_tokens

        longest = max(question.max_tokens for question in self._asked)
        decoder.decode([question.ids for question in self._asked], longest, on_token, between_steps)
        self.done += len(self)
        # A reference may say tokens that the target does not have: -1.
        return [self._decode([i for i in ids if i >= 0]) for ids in said]

    def answers(self, target: Sequence[str], reference: Sequence[str]) -> list[Answer]:
        """What both said to each question, nothing to what failed; `reference` is empty without one."""
        said = [
            Answer(question.fingerprint, ours, theirs)
            for question, ours, theirs in zip_longest(self._asked, target, reference)
        ]
        return [*said, *(Answer(fingerprint, "", "" if reference else None) for fingerprint in self._failed)]
