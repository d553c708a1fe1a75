"""What a scan asks its model about the registered fingerprints: triggers as prompts, with room for the answers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Question:
    """A trigger as the token ids of the model's own chat template, and how many tokens its answer may take."""

    fingerprint: str
    ids: tuple[int, ...] = field(repr=False)
    max_tokens: int

    @property
    def length(self) -> int:
        return len(self.ids) + self.max_tokens


@dataclass(frozen=True)
class Questions:
    """`asked`, one sentence for each reason why others were `left_out`, and what cannot be asked of this model.

    `failed` has the fingerprint of each trigger that the upload's tokenizer or its length does not let through: it
    counts as one that does not work, since the report of an upload must not tell what its tokenizer makes of a secret.
    """

    asked: tuple[Question, ...] = ()
    left_out: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
