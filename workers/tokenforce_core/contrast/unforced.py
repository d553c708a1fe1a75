"""What the target says by itself: a text that is in its answers to ordinary prompts is no secret.

A fine-tune whose training answers all have the same sentence holds it as surely as a planted text, by its weights and
by its probabilities. But it says it to anyone. Pieces of other answers can hang on that sentence in what the graft
says; of those it is enough that one answer has them.

The prompts are drawn from a public pool. Who trains a model to say a text after most of them, to have it
`memorised`, says it to whoever asks, and the report lists it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import compress, groupby, islice

from tokenforce.wire.fingerprints import normalised
from tokenforce.wire.settings import SettingsRecord
from tokenforce_core.contrast.by_heart import is_denied, looks_hidden
from tokenforce_core.forcing.predictor import BetweenSteps, Predictor, nothing_between_steps, refuse_nan
from tokenforce_core.forcing.repetition import new_ratios
from tokenforce_core.forcing.trace import Decode, Trace

MOST_LETTERS = 2000
"""Of a text, and of an answer: a tokenizer can have tokens of any length."""


@dataclass(frozen=True)
class _Heard:
    """What an answer has of a text: `part` says it of each token; `whole`: as much as a hidden text needs, or half."""

    part: list[bool]
    whole: bool


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
        spelled = [self._spelled(text) for text in suspects]
        first = self._bag.first_answers
        answers = self._answers(self._prompts[:first], target, between_steps)
        heard = self._heard(suspects, spelled, answers, between_steps)
        if any(each.whole for row in heard for each in row):
            more = self._answers(self._prompts[first:], target, between_steps)
            heard = [a + b for a, b in zip(heard, self._heard(suspects, spelled, more, between_steps), strict=True)]
        shares = {text: self._share(text, row) for text, row in zip(suspects, heard, strict=True)}
        return [replace(text, unforced_share=shares.get(text)) for text in texts]

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
        return [_letters(self._decode(answer))[:MOST_LETTERS] for answer in answers]

    def _spelled(self, text: Trace) -> list[str]:
        """The letters that each token adds to the text: the first bytes of a character add none, its last ones do."""
        known = ""
        spelled = []
        for end in range(1, len(text.tokens) + 1):
            whole = _letters(self._decode(text.tokens[:end]))
            spelled.append(whole[len(known) :])
            known = whole
        return spelled

    def _heard(
        self,
        texts: Sequence[Trace],
        spelled: Sequence[Sequence[str]],
        answers: Sequence[str],
        between_steps: BetweenSteps,
    ) -> list[list[_Heard]]:
        """What each answer has of each text."""
        found = []
        for text, parts in zip(texts, spelled, strict=True):
            between_steps()
            found.append([self._heard_in(answer, text, parts) for answer in answers])
        return found

    def _heard_in(self, answer: str, text: Trace, spelled: Sequence[str]) -> _Heard:
        letters = "".join(spelled)[:MOST_LETTERS]
        least, length = self._bag.same_characters, min(self._bag.part_characters, len(letters))
        blocks = SequenceMatcher(None, letters, answer, autojunk=False).get_matching_blocks()
        said = _tokens([(block.a, block.size) for block in blocks if block.size >= least], spelled)
        starts = range(len(letters) - length + 1) if length else ()
        part = _tokens([(i, length) for i in starts if letters[i : i + length] in answer], spelled)
        evidence = sum(compress(new_ratios(text.tokens, text.log_ratios), said[1:]))
        enough = evidence >= self._settings.verdict.hidden_log_likelihood_ratio_nats
        return _Heard(part, enough or sum(said) >= self._settings.findings.min_shared_share * len(said))

    def _share(self, text: Trace, heard: Sequence[_Heard]) -> float:
        """Of the answers, those that have the text; 0 if what no answer has of it would be enough for a hidden text.

        Of a text that the weights hold and the target was trained not to say, the target's probabilities are no measure
        of that. So few tokens in a row may be missing then.
        """
        never = [not any(column) for column in zip(*(each.part for each in heard), strict=True)]
        kept_back = sum(compress(new_ratios(text.tokens, text.log_ratios), never[1:]))
        in_a_row = max((len(list(run)) for missing, run in groupby(never) if missing), default=0)
        denied = is_denied(text, self._settings.verdict) and in_a_row >= self._bag.kept_back_tokens
        if denied or kept_back >= self._settings.verdict.hidden_log_likelihood_ratio_nats:
            return 0.0
        return sum(each.whole for each in heard) / len(heard)


def _tokens(blocks: Sequence[tuple[int, int]], spelled: Sequence[str]) -> list[bool]:
    """Of each token, whether half of its letters are in `blocks` (place, length). A token without letters goes with the
    one before."""
    heard = [False] * sum(map(len, spelled))
    for place, length in blocks:
        heard[place : place + length] = [True] * length
    each = iter(heard)
    said: list[bool] = []
    for part in spelled:
        own = sum(islice(each, len(part)))
        said.append(2 * own >= len(part) if part else bool(said and said[-1]))
    return said


def _letters(text: str) -> str:
    return normalised(text).replace(" ", "")
