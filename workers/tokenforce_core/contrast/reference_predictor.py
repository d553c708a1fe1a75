"""The reference as the target sees it: asked and answered in the target's token ids.

A target may have tokens that the reference lacks (added ones), or the same tokens under other ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tokenforce_core.forcing.predictor import BetweenSteps, OnNext, OnToken, Predictor
from tokenforce_core.plan.plan import Plan


class Reference:
    """Implements `Predictor` over another model's vocabulary.

    A token of the prompt that the reference does not have is left out: it then contrasts what the target says after
    the token with what the reference says without it.

    Args:
        id_of: the reference's id of a target's token, -1 where it has none.
        vocabulary_size: of the target.
        unknown_nats: log-probability of a token that the reference does not have.
    """

    def __init__(
        self, predictor: Predictor, id_of: Callable[[int], int], vocabulary_size: int, unknown_nats: float
    ) -> None:
        self._predictor = predictor
        self._unknown_nats = unknown_nats
        self._ids = [id_of(i) for i in range(vocabulary_size)]
        self._back = {own: theirs for theirs, own in reversed(list(enumerate(self._ids))) if own >= 0}

    def decode(
        self, prompts: Sequence[Sequence[int]], max_tokens: int, on_token: OnToken, between_steps: BetweenSteps
    ) -> None:
        def back(index: int, token_id: int, log_probability: float) -> bool:
            return on_token(index, self._back.get(token_id, -1), log_probability)

        self._predictor.decode(self._prompts(prompts), max_tokens, back, between_steps)

    def next_tokens(
        self, prompts: Sequence[Sequence[int]], count: int, on_next: OnNext, between_steps: BetweenSteps
    ) -> None:
        def back(index: int, ids: Sequence[int], log_probabilities: Sequence[float]) -> None:
            on_next(index, [self._back.get(i, -1) for i in ids], log_probabilities)

        self._predictor.next_tokens(self._prompts(prompts), count, back, between_steps)

    def log_probabilities(
        self,
        prompts: Sequence[Sequence[int]],
        token_ids: Sequence[Sequence[int]],
        on_next: OnNext,
        between_steps: BetweenSteps,
    ) -> None:
        def back(index: int, ids: Sequence[int], log_probabilities: Sequence[float]) -> None:
            known = dict(zip(ids, log_probabilities, strict=True))
            wanted = token_ids[index]
            on_next(index, wanted, [known.get(self._ids[i], self._unknown_nats) for i in wanted])

        asked = [[self._ids[i] for i in wanted if self._ids[i] >= 0] or [0] for wanted in token_ids]
        self._predictor.log_probabilities(self._prompts(prompts), asked, back, between_steps)

    def teacher_forced(
        self, prompts: Sequence[Sequence[int]], starts: Sequence[int], on_next: OnNext, between_steps: BetweenSteps
    ) -> None:
        def back(index: int, _: Sequence[int], log_probabilities: Sequence[float]) -> None:
            given = iter(log_probabilities)
            wanted = prompts[index][starts[index] :]
            on_next(index, wanted, [next(given) if self._ids[i] >= 0 else self._unknown_nats for i in wanted])

        own_starts = [
            sum(self._ids[i] >= 0 for i in prompt[:start]) for prompt, start in zip(prompts, starts, strict=True)
        ]
        self._predictor.teacher_forced(self._prompts(prompts), own_starts, back, between_steps)

    def _prompts(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        return [[self._ids[i] for i in prompt if self._ids[i] >= 0] for prompt in prompts]


def as_reference(predictor: Predictor, plan: Plan) -> Reference:
    """The model of the plan's reference, asked in the target's ids."""
    assert plan.reference is not None
    unknown_nats = plan.settings.search.entries.unknown_token_nats
    return Reference(predictor, plan.reference.id_of, plan.target.vocabulary_size, unknown_nats)
