"""Asks a model the triggers of the registered fingerprints, in its own template. Part of the confirm job."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import zip_longest

from tokenforce_core.fingerprints.matching import Answer
from tokenforce_core.fingerprints.trigger_questions import Questions
from tokenforce_core.forcing.predictor import BetweenSteps, Decoder


class TriggerAnswers:
    """One scan's questions. `done` counts questions times models, once a model has answered all of them.

    Single questions and their forward tokens are not counted: progress must not reveal how the upload's tokenizer
    treats a secret, or where an answer ends.

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
        """The greedy answer to each question, without its end token."""
        if not self._asked:
            self.done += len(self)
            return []
        said: list[list[int]] = [[] for _ in self._asked]

        def on_token(index: int, token_id: int, log_probability: float) -> bool:
            # A NaN ends the answer, not the scan: failing could reveal which trigger has which token.
            if token_id in self._end_ids or math.isnan(log_probability):
                return False
            said[index].append(token_id)
            return len(said[index]) < self._asked[index].max_tokens

        longest = max(question.max_tokens for question in self._asked)
        decoder.decode([question.ids for question in self._asked], longest, on_token, between_steps)
        self.done += len(self)
        # -1 stands for tokens that only the reference has.
        return [self._decode([i for i in ids if i >= 0]) for ids in said]

    def answers(self, target: Sequence[str], reference: Sequence[str]) -> list[Answer]:
        """Both models' answers to each question, empty for failed ones; `reference` is empty without a reference."""
        said = [
            Answer(question.fingerprint, ours, theirs)
            for question, ours, theirs in zip_longest(self._asked, target, reference)
        ]
        return [*said, *(Answer(fingerprint, "", "" if reference else None) for fingerprint in self._failed)]
