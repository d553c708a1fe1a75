"""A scan's plan: everything a worker needs to know, decided once and stored with the scan."""

from __future__ import annotations

from functools import cached_property

from pydantic import BaseModel, ConfigDict

from tokenforce.types import ContextRecord, SettingsRecord, SkippedIds, TargetRecord
from tokenforce_core.vocabulary import Shard, forceable, shards

ALIGNMENT = 32
"""Contexts are padded to a multiple of this many tokens: a multiple of the KV block size of every
backend in use (16 on GPUs, 32 on CPUs), so that prefix caching leaves one forward token per entry."""


class Plan(BaseModel):
    """Target, contexts, settings and the broken-up vocabulary of one scan."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    target: TargetRecord
    path: str
    settings: SettingsRecord
    contexts: list[ContextRecord]
    skipped: list[SkippedIds]
    end_ids: list[int]
    shard_size: int
    max_length: int
    queue: str

    @cached_property
    def forceable_ids(self) -> list[int]:
        return forceable(self.target.vocabulary_size, self.skipped)

    @property
    def shards(self) -> list[Shard]:
        return list(shards(len(self.forceable_ids), len(self.contexts), self.shard_size))

    @property
    def entries(self) -> int:
        """Vocabulary entries times contexts."""
        return len(self.forceable_ids) * len(self.contexts)

    @property
    def context_names(self) -> list[str]:
        return [context.name for context in self.contexts]

    def prompt_cost(self, context: int) -> int:
        """Forward tokens that the prompt of one entry costs: what prefix caching does not cover."""
        length = len(self.contexts[context].ids)
        return length % ALIGNMENT + 1
