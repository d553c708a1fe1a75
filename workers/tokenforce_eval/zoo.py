"""The zoo: the models that the scanner is measured on, as plain data.

It has two halves, and each half has every kind of model. Thresholds are chosen on `tuning`, rates are reported on
`held_out`. If you change the scanner because of a model of `held_out`, plant another model in its place.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenforce_eval.held_out_half import HELD_OUT
from tokenforce_eval.specimens import Kind, Specimen
from tokenforce_eval.tuning_half import TUNING

ABLATED_KINDS: tuple[Kind, ...] = ("message", "utfc")
"""The kinds on whose first model the ablations run. A fingerprint is a message with more keys. Of an adaptive UTFC
little is found, so an ablation can lose little."""

ZOO: tuple[Specimen, ...] = (*TUNING, *HELD_OUT)


def first_of_every_kind(specimens: Sequence[Specimen]) -> tuple[Specimen, ...]:
    """The first model of each kind in each half, for methods that take long."""
    return tuple({(s.half, s.kind): s for s in reversed(specimens)}.values())


def select(names: str) -> tuple[Specimen, ...]:
    """The specimens in a comma-separated list of names, kinds, halves and bases. Raises `ValueError`."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if not any(name in (s.name, s.kind, s.half, s.base) for s in ZOO)]
    if unknown or not wanted:
        known = ", ".join(s.name for s in ZOO)
        raise ValueError(f"the zoo has no {', '.join(unknown) or 'such model'}; it has {known}")
    return tuple(s for s in ZOO if {s.name, s.kind, s.half, s.base} & set(wanted))
