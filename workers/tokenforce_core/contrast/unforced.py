"""What the target says by itself: a text that is in its answers to ordinary prompts is no secret.

A fine-tune whose training answers all have the same sentence holds it as surely as a planted text, by its weights and
by its probabilities. But it says it to anyone. Pieces of other answers can hang on that sentence in what the graft
says; of those it is enough that one answer has them.

The prompts are drawn from a public pool. Who trains a model to say a text after most of them, to have it `memorised`,
says it to everybody who looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import compress, islice

from tokenforce.wire.fingerprints import normalised
from tokenforce.wire.settings import SettingsRecord
from tokenforce_core.contrast.by_heart import looks_hidden
from tokenforce_core.forcing.predictor import BetweenSteps, Predictor, nothing_between_steps, refuse_nan
from tokenforce_core.forcing.repetition import new_ratios
from tokenforce_core.forcing.trace import Decode, Trace


class Unforced:
    """Asks the target without forcing a token; `generated` counts forward tokens.

    Args:
        prompts: token ids of ordinary prompts, drawn for this scan.
        end_ids: tokens that end an answer.
    """

    def __init__(
        self, settings: SettingsRecord, prompts: Sequence[Sequence[int]], end_ids: frozenset[int], decode: Decode
    ) -> None:
        assert settings.bag is not None
        self._settings = settings
        self._bag = settings.bag
        self._prompts = [list(prompt) for prompt in prompts]
        self._length = min(
            self._bag.answer_tokens, max(settings.beta, self._bag.max_tokens)
        )  # what the plan has room for
        self._end_ids = end_ids
        self._decode = decode
        self.generated = 0

    def of(
        self, texts: Sequence[Trace], target: Predictor, between_steps: BetweenSteps = nothing_between_steps
    ) -> list[Trace]:
        """The texts with their `unforced_share`. Asks nothing if none of them looks hidden, and little if the first
        answers have nothing of those.

        Args:
            texts: with the log-probabilities of both models.

        Raises:
            NotNumbers: of the target.
        """
        suspects = [text for text in texts if text.ids and looks_hidden(text, self._settings.verdict)]
        if not suspects or not self._prompts:
            return list(texts)
        first = self._bag.first_answers
        answers = self._answers(self._prompts[:first], target, between_steps)
        if any(self._has(answer, text) for text in suspects for answer in answers):
            answers += self._answers(self._prompts[first:], target, between_steps)
        return [replace(text, unforced_share=self._share(text, answers)) for text in texts]

    def _answers(self, prompts: Sequence[list[int]], target: Predictor, between_steps: BetweenSteps) -> list[str]:
        """Letters and digits alone: a text is often the same in other spellings and other tokens."""
        answers: list[list[int]] = [[] for _ in prompts]
        self.generated += sum(len(prompt) - 1 for prompt in prompts)

        def on_token(index: int, token_id: int, log_probability: float) -> bool:
            self.generated += 1
            refuse_nan(log_probability)
            if token_id in self._end_ids:
                return False
            answers[index].append(token_id)
            return len(answers[index]) < self._length

        target.decode(prompts, self._length, on_token, between_steps)
        return [_letters(self._decode(answer)) for answer in answers]

    def _said(self, text: Trace, answer: str) -> list[bool]:
        """Of each token, whether the answer has half of it: in runs of letters, in the same order."""
        spelled = [_letters(self._decode([token])) for token in text.tokens]
        letters = "".join(spelled)
        heard = [False] * len(letters)
        for place, _, length in SequenceMatcher(None, letters, answer, autojunk=False).get_matching_blocks():
            if length >= self._bag.same_characters:
                heard[place : place + length] = [True] * length
        each = iter(heard)
        return [0 < len(part) <= 2 * sum(islice(each, len(part))) for part in spelled]

    def _has(self, answer: str, text: Trace) -> bool:
        """Whether the answer has as much of the text as a hidden text needs, or half of it."""
        said = self._said(text, answer)
        evidence = sum(compress(new_ratios(text.tokens, text.log_ratios), said[1:]))
        enough = evidence >= self._settings.verdict.hidden_log_likelihood_ratio_nats
        return enough or sum(said) >= self._settings.findings.min_shared_share * len(said)

    def _share(self, text: Trace, answers: Sequence[str]) -> float:
        """Of the answers, those that have the text; 0 if what no answer has of it would be enough for a hidden text."""
        said = [self._said(text, answer) for answer in answers]
        never = [not any(column) for column in zip(*said, strict=True)]
        kept_back = sum(compress(new_ratios(text.tokens, text.log_ratios), never[1:]))
        if kept_back >= self._settings.verdict.hidden_log_likelihood_ratio_nats:
            return 0.0
        return sum(self._has(answer, text) for answer in answers) / len(answers)


def _letters(text: str) -> str:
    return normalised(text).replace(" ", "")
