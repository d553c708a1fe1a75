"""What is compared: our scan with a reference and without, the paper's preset, BAIT, and the ablations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Method:
    """One way to scan. `request` are arguments of `client.scans.create`; `reference`: contrasted with the base.

    `ablation`: our method with one part changed. `few`: run on the first model of every kind only, because it takes
    minutes a model.
    """

    name: str
    request: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    reference: bool = False
    ablation: bool = False
    few: bool = False


CONTRAST = Method("contrast", reference=True)
ALONE = Method("alone")
PAPER = Method("paper", {"preset": "paper"})
BAIT = Method("bait", few=True)
"""Not a scan of ours: see `bait.py`."""

ABLATIONS = (
    Method("bos only", {"contexts": ["bos"]}, reference=True, ablation=True, few=True),
    Method("assistant only", {"contexts": ["assistant"]}, reference=True, ablation=True, few=True),
    Method("alpha 8", {"alpha": 8}, reference=True, ablation=True, few=True),
)
METHODS = (CONTRAST, ALONE, PAPER, BAIT, *ABLATIONS)


def chosen(names: str | None) -> tuple[Method, ...]:
    """The methods that a comma-separated list names; all without one. Raises `ValueError`."""
    if names is None:
        return METHODS
    wanted = [name.strip() for name in names.split(",")]
    known = {method.name: method for method in METHODS}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"there is no method {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(method for method in METHODS if method.name in wanted)
