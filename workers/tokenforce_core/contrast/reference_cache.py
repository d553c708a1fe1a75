"""The reference's most probable next tokens, asked once per base model and kept.

They are kept in blocks of the reference's own ids, whatever a target skips, so that every later target of the same
base, context and compute type finds them.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from tokenforce.wire.settings import EntrySettings
from tokenforce_core.contrast.shard import top_tokens
from tokenforce_core.contrast.statistics import Floats, Ids
from tokenforce_core.forcing.predictor import NEVER, BetweenSteps, Predictor

DIGEST_CHARACTERS = 16
"""Of a context, in the name of a block."""
_ID = np.dtype("<i4")
_VALUE = np.dtype("<f2")
"""Rounding log-probabilities to 16 bits halves a block."""


class Blocks(Protocol):
    """Where blocks are kept: bytes by name."""

    def get(self, name: str) -> bytes | None: ...

    def put(self, name: str, block: bytes) -> None: ...


class ReferenceTops:
    """Implements `shard.TopTokens` with blocks that are computed when they are missing.

    Args:
        predictor: the reference, in its own ids.
        contexts: every context in the reference's own ids.
        own_ids: the reference's id of each target's token, -1 where it has none.
        vocabulary_size: of the reference.
    """

    def __init__(
        self,
        predictor: Predictor,
        contexts: Sequence[Sequence[int]],
        own_ids: Sequence[int],
        vocabulary_size: int,
        settings: EntrySettings,
        blocks: Blocks,
        between_steps: BetweenSteps,
    ) -> None:
        self._predictor = predictor
        self._contexts = contexts
        self._own = np.asarray(own_ids, dtype=np.int32)
        self._size = vocabulary_size
        self._top = settings.next_tokens
        self._block_size = settings.reference_block_ids
        self._min_share = settings.reference_block_min_share
        self._blocks = blocks
        self._between_steps = between_steps
        self._back = np.full(max(vocabulary_size, 1) + 1, -1, dtype=np.int32)  # the last place answers for -1
        known = self._own >= 0
        self._back[self._own[known]] = np.nonzero(known)[0]
        self.generated = 0

    def after(self, context: int, forced_ids: Sequence[int]) -> tuple[Ids, Floats]:
        """See `TopTokens.after`; in the target's ids, -1 for tokens that only the reference has."""
        own = self._own[np.asarray(forced_ids, dtype=np.intp)]
        ids = np.full((len(own), self._top), -1, dtype=np.int32)
        values = np.full((len(own), self._top), NEVER, dtype=np.float32)
        few = []
        for number in sorted({int(i) // self._block_size for i in own if i >= 0}):
            rows = np.nonzero((own >= 0) & (own // self._block_size == number))[0]
            block = self._block(context, number, len(rows))
            if block is None:
                few.append(rows)
            else:
                places = own[rows] % self._block_size
                ids[rows], values[rows] = block[0][places], block[1][places]
        if few:  # of all blocks at once: a batch each would be small
            rows = np.concatenate(few)
            ids[rows], values[rows] = _unpacked(self._asked(self._contexts[context], own[rows]), len(rows), self._top)
        if (unknown := np.nonzero(own < 0)[0]).size:
            # Without the token itself: what the reference says at the context alone.
            alone_ids, alone_values = top_tokens(
                self._predictor, [self._contexts[context]], self._top, self._between_steps
            )
            ids[unknown], values[unknown] = alone_ids[0], alone_values[0]
        return self._back[ids], values

    def _block(self, context: int, number: int, wanted: int) -> tuple[Ids, Floats] | None:
        """A block's answers, one row per id; None if it is not kept and so few are `wanted` that it is not worth it."""
        context_ids = self._contexts[context]
        digest = hashlib.sha256(np.asarray(context_ids, dtype="<i4").tobytes()).hexdigest()[:DIGEST_CHARACTERS]
        name = f"{digest}:{self._top}:{self._block_size}:{number}"
        first = number * self._block_size
        rows = min(self._block_size, self._size - first)
        block = self._blocks.get(name)
        if block is None and wanted < rows * self._min_share:
            return None
        if block is None:
            block = self._asked(context_ids, range(first, first + rows))
            self._blocks.put(name, block)
        return _unpacked(block, rows, self._top)

    def _asked(self, context_ids: Sequence[int], own: Iterable[int]) -> bytes:
        """Packed, which rounds, so that answers are the same whether they were kept or not."""
        prompts = [[*context_ids, int(i)] for i in own]
        self.generated += len(prompts)
        return _packed(*top_tokens(self._predictor, prompts, self._top, self._between_steps))


def _packed(ids: Ids, values: Floats) -> bytes:
    return zlib.compress(ids.astype(_ID).tobytes() + values.astype(_VALUE).tobytes(), zlib.Z_BEST_SPEED)


def _unpacked(block: bytes, rows: int, columns: int) -> tuple[Ids, Floats]:
    raw = zlib.decompress(block)
    split = rows * columns * _ID.itemsize
    ids = np.frombuffer(raw[:split], dtype=_ID).reshape(rows, columns).astype(np.int32)
    return ids, np.frombuffer(raw[split:], dtype=_VALUE).reshape(rows, columns).astype(np.float32)
