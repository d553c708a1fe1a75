"""Chooses the queue that a worker takes its next shard from: highest priority first, then the loaded model.

A queue belongs to one model at one priority (`jobs.model_queue`). Within the highest priority that has work, the worker
stays with the loaded model for `fair_after` shards in a row, then takes the model that it served longest ago.
Starvation is bounded: a lower priority that was passed over for `PATIENCE` × `fair_after` shards gets `fair_after`
shards, so a fifth of the worker.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tokenforce.wire.scans import Priority
from tokenforce_core.queues.jobs import model_of, priority_of

PATIENCE = 4
"""Shards of higher priorities before each shard of a lower one that waits."""


class QueueTurns:
    """Which queues one worker has served. Not shared: each worker is fair by itself."""

    def __init__(self, fair_after: int) -> None:
        self._fair_after = fair_after
        self._warm: str | None = None
        self._streak = 0
        self._taken = 0
        self._served_at: dict[str, int] = {}
        self._passed_over: dict[Priority, int] = {}
        self._patience_ended: Priority | None = None

    def order(self, waiting: Mapping[str, int]) -> list[str]:
        """The names of the waiting queues, in the order in which to try them.

        Args:
            waiting: queue → shards in it, more than 0.
        """
        classes = sorted({priority_of(name) for name in waiting}, key=_rank)
        if self._patience_ended in classes:
            classes.sort(key=lambda priority: priority is not self._patience_ended)
        return [name for priority in classes for name in self._models(priority, waiting)]

    def _models(self, priority: Priority, waiting: Mapping[str, int]) -> list[str]:
        names = [name for name in waiting if priority_of(name) is priority]
        names.sort(key=lambda name: (self._served_at.get(name, 0), -waiting[name], name))
        if self._streak < self._fair_after:
            names.sort(key=lambda name: model_of(name) != self._warm)
        return names

    def took(self, name: str, waiting: Collection[str]) -> None:
        """Note that a shard was taken from the queue `name` while the queues `waiting` had some."""
        model, priority = model_of(name), priority_of(name)
        self._streak = self._streak + 1 if model == self._warm else 1
        self._warm = model
        self._taken += 1
        self._served_at[name] = self._taken
        others = {priority_of(other) for other in waiting} - {priority}
        # A queue without work is not passed over, and unused turns do not add up.
        owed = {other: self._passed_over.get(other, 0) + 1 for other in others}
        if priority is self._patience_ended and (left := self._passed_over.get(priority, 0) - PATIENCE) > 0:
            owed[priority] = left
        else:
            self._patience_ended = None
        self._passed_over = owed
        if self._patience_ended is None:
            limit = PATIENCE * self._fair_after
            impatient = [other for other in owed if owed[other] >= limit]
            self._patience_ended = max(impatient, key=lambda other: owed[other], default=None)


def _rank(priority: Priority) -> int:
    return (Priority.high, Priority.normal, Priority.low).index(priority)
