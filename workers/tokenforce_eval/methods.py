"""The methods compared: our scan with and without a reference, the preset `paper`, other scanners, and ablations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Method:
    """One way to scan. `request` are arguments of `client.scans.create`; `reference`: contrast with the base.

    `sampled`: it forces the vocabulary sample, and not all that it would force for a user. `ablation`: our method with
    one part changed. `one_per_kind`: only the first model of each kind and base, unless the run asks for every model.
    """

    name: str
    request: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    reference: bool = False
    sampled: bool = True
    ablation: bool = False
    one_per_kind: bool = False


QUICK = Method("quick", {"depth": "quick"}, reference=True, sampled=False)
STANDARD = Method("standard", {"depth": "standard"}, reference=True, one_per_kind=True)
THOROUGH = Method("thorough", {"depth": "thorough"}, reference=True, one_per_kind=True)
ALONE = Method("alone", one_per_kind=True)
PAPER = Method("paper", {"preset": "paper"}, one_per_kind=True)
BAIT = Method("bait", one_per_kind=True)
CDD = Method("cdd", reference=True, sampled=False, one_per_kind=True)
HAYSTACK = Method("haystack", reference=True, sampled=False, one_per_kind=True)
RIVALS = (BAIT, CDD, HAYSTACK)
"""Other scanners: see `bait.py`, `cdd.py`, `haystack.py`."""

ABLATIONS = (
    Method("bos only", {"depth": "thorough", "contexts": ["bos"]}, reference=True, ablation=True, one_per_kind=True),
    Method(
        "assistant only",
        {"depth": "thorough", "contexts": ["assistant"]},
        reference=True,
        ablation=True,
        one_per_kind=True,
    ),
    Method("alpha 8", {"depth": "thorough", "alpha": 8}, reference=True, ablation=True, one_per_kind=True),
)
USUAL = (QUICK, STANDARD, ALONE, PAPER, *RIVALS)
"""What a run compares if it names no methods."""
METHODS = (*USUAL, THOROUGH, *ABLATIONS)


def select(names: str | None) -> tuple[Method, ...]:
    """The methods in a comma-separated list; the usual ones for None. Raises `ValueError`."""
    if names is None:
        return USUAL
    wanted = [name.strip() for name in names.split(",")]
    known = {method.name: method for method in METHODS}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"there is no method {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(method for method in METHODS if method.name in wanted)
