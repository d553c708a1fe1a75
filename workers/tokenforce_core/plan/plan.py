"""A scan's plan: all that a worker needs to know, decided once and stored with the scan."""

from __future__ import annotations

from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field

from tokenforce.wire.report import ContextRecord, ReferenceRecord, SkippedIds, TargetRecord
from tokenforce.wire.scans import Depth, KnownText
from tokenforce.wire.settings import SettingsRecord
from tokenforce_core.forcing.predictor import uncached
from tokenforce_core.plan.hashed import Hashed
from tokenforce_core.plan.vocabulary import NOT_ASKED_FOR, Shard, forceable, shards

MAX_LORA_RANK = 64
"""Of adapters that are scanned on their base."""


class ReferencePlan(BaseModel):
    """The model that the target is contrasted with.

    `path` is its folder, `hashed` what decides what it says. `id_map[i]` is its id of the target's token i, -1 where
    it has none; None: the ids are the same, as far as its vocabulary goes.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    record: ReferenceRecord
    path: str
    id_map: list[int] | None = None
    hashed: Hashed

    def id_of(self, target_id: int) -> int:
        """The reference's id of a target's token, -1 where it has none."""
        if self.id_map is not None:
            return self.id_map[target_id]
        return target_id if target_id < self.record.vocabulary_size else -1


class Plan(BaseModel):
    """Target, contexts, settings and the broken-up vocabulary of one scan.

    `path` is the folder of the weights that the engine loads: the target's, or for a LoRA adapter (`adapter`) its
    base's, which then is the reference too. `loaded_digest` is the digest of those weights, so that many adapters of
    one base share a queue and an engine; `lora_rank` is the adapter's rank, rounded up to one that the engine knows.
    `tokenizer_path` is the folder whose tokenizer the target speaks with. `hashed` are the files that decide what the
    engine says: those of `path`, and of the adapter. `drawn`: contexts drawn for this scan, in which the search follows
    the words that the weights were taught; none if the weights are not compared. `drawn_by_request`: the request named
    them, to repeat a scan; `known_texts` are then held against both models too. `prompts`: token ids of
    ordinary prompts, which the target answers freely. `forced_contexts`: places in
    `every_context` of the contexts in which the whole vocabulary is forced.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    target: TargetRecord
    path: str
    loaded_digest: str
    tokenizer_path: str
    adapter: str | None = None
    lora_rank: int | None = None
    hashed: tuple[Hashed, ...]
    reference: ReferencePlan | None = None
    settings: SettingsRecord
    contexts: list[ContextRecord]
    drawn: list[ContextRecord] = Field(default_factory=list)
    drawn_by_request: bool = False
    prompts: list[list[int]] = Field(default_factory=list)
    forced_contexts: list[int]
    known_texts: list[KnownText] = Field(default_factory=list)
    depth: Depth
    skipped: list[SkippedIds]
    end_ids: list[int]
    shard_size: int
    max_length: int
    queue: str

    @cached_property
    def forceable_ids(self) -> list[int]:
        return forceable(self.target.vocabulary_size, self.skipped)

    @property
    def teachable_ids(self) -> list[int]:
        """Ids that the search from the weights may follow: also those that the request does not ask to force."""
        return forceable(self.target.vocabulary_size, [g for g in self.skipped if g.reason != NOT_ASKED_FOR])

    @property
    def shards(self) -> list[Shard]:
        return list(shards(len(self.forceable_ids), self.forced_contexts, self.shard_size))

    @property
    def entries(self) -> int:
        """Vocabulary entries times the contexts in which they are forced."""
        return len(self.forceable_ids) * len(self.forced_contexts)

    @property
    def every_context(self) -> list[ContextRecord]:
        """The contexts that a trace may have: the scan's, and after them the drawn ones."""
        return [*self.contexts, *self.drawn]

    @property
    def context_names(self) -> list[str]:
        return [context.name for context in self.every_context]

    @property
    def shared_vocabulary(self) -> int:
        """The first ids, which target and reference share if their ids are the same."""
        known = self.reference.record.vocabulary_size if self.reference is not None else self.target.vocabulary_size
        return min(self.target.vocabulary_size, known)

    @property
    def reads_weights(self) -> bool:
        """Whether the scan begins with the weight lens and the bag search."""
        return bool(self.drawn)

    @property
    def sweeps(self) -> bool:
        """Whether the vocabulary is forced by plain decoding. At the depth standard it is by contrast only."""
        return self.depth is Depth.thorough

    def prompt_cost(self, context: int) -> int:
        """Forward tokens that the prompt of one entry costs: what prefix caching does not cover."""
        return uncached(len(self.every_context[context].ids) + 1)
