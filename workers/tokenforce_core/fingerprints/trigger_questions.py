"""What a scan asks its model: the triggers of registered fingerprints as prompts, with room for the answers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Question:
    """A trigger in the model's own chat template, as token ids, and the most tokens of its answer."""

    fingerprint: str
    ids: tuple[int, ...] = field(repr=False)
    max_tokens: int

    @property
    def length(self) -> int:
        return len(self.ids) + self.max_tokens


@dataclass(frozen=True)
class Questions:
    """All questions of one scan.

    `left_out`: one sentence for each reason why triggers are not asked. `failed`: the fingerprints of triggers that the
    upload's tokenizer or length does not allow. They count as triggers that do not work, so that a report never
    reveals how an upload's tokenizer treats a secret.
    """

    asked: tuple[Question, ...] = ()
    left_out: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
