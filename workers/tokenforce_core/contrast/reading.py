"""A text of a search as the report reads it."""

from __future__ import annotations

from dataclasses import replace

from tokenforce.wire.settings import SettingsRecord
from tokenforce_core.forcing.confirmation import IsSeparator, without_repetition
from tokenforce_core.forcing.scoring import mean
from tokenforce_core.forcing.trace import Origin, Trace


def as_read(trace: Trace, settings: SettingsRecord, is_separator: IsSeparator) -> Trace:
    """The text without its repetition, with the score that a sweep would have given it."""
    read = without_repetition(trace, settings, is_separator)
    start = read.probabilities[: settings.alpha]
    return replace(read, origin=Origin.search, sweep_score=mean(sum(start), len(start), settings))
