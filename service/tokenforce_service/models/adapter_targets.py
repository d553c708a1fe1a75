"""Which modules the config of a LoRA adapter adapts, and with which rank, by the rules of PEFT.

The engine loads everything in the weights; PEFT leaves out what the config does not name. Only adapters on which both
agree are scanned, so that the scanned model is the one that others will run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.models.bounded_regex import RegexFailed, matching
from tokenforce_service.refusals import Refusal

ALL_LINEAR = "all-linear"
OUTPUT_LAYERS = ("lm_head", "embed_out")
"""Linear layers that `all-linear` does not include."""
MOST_PATTERNS = 500
"""Entries of `rank_pattern` and of `alpha_pattern`: the engine keeps so many compiled."""
LONGEST_PATTERN = 256
"""Characters of one entry."""
_PATTERN = re.compile(r"\^?(?:[\w.-]|\\\.)+", re.ASCII)
"""The name of a module or the end of a name; other patterns are refused. The engine runs them as regular expressions,
and without repetition these are fast."""
_LAYER_NAME = re.compile(r"[\w.-]+", re.ASCII)
_FIRST_INDEX = re.compile(r".*?\.[^.]*\.([0-9]{1,9})\.")


@dataclass(frozen=True)
class Targets:
    """The modules that a config adapts. Modules have the names that they have in the base.

    `named` and `excluded` are ends of names, or one regular expression. `layers` are the numbers of the adapted layers
    (None: all), `layers_under` the names that their lists may have (empty: any name).
    """

    rank: int
    ranks: tuple[tuple[re.Pattern[str], int], ...]
    named: frozenset[str] | str
    excluded: frozenset[str] | str
    layers: frozenset[int] | None
    layers_under: tuple[re.Pattern[str], ...]

    @property
    def largest_rank(self) -> int:
        """The rank that the engine compares with its limit, even if each module has a smaller one."""
        return max(self.rank, *(rank for _, rank in self.ranks)) if self.ranks else self.rank

    def rank_of(self, module: str) -> int:
        return next((rank for pattern, rank in self.ranks if pattern.match(module)), self.rank)

    def not_named(self, modules: Collection[str]) -> list[str]:
        """The modules among these that the config does not adapt, sorted.

        Raises:
            Refusal: `adapter_mismatch` for a regular expression that takes too long.
        """
        excluded = _chosen("exclude_modules", self.excluded, modules)
        if isinstance(self.named, str) and self.named.lower() == ALL_LINEAR:
            wanted = {module for module in modules if module.rpartition(".")[2] not in OUTPUT_LAYERS}
        else:
            wanted = _chosen("target_modules", self.named, modules)
        if not isinstance(self.named, str):
            # The layers matter only for ends of names.
            wanted = {module for module in wanted if module in self.named or self._in_layers(module)}
        return sorted(set(modules) - (wanted - excluded))

    def _in_layers(self, module: str) -> bool:
        if self.layers is None:
            return True
        found = next(filter(None, (pattern.match(module) for pattern in self.layers_under or (_FIRST_INDEX,))), None)
        return found is not None and int(found[1]) in self.layers


def read_targets(config: Mapping[str, Any], rank_limit: int) -> Targets:
    """The targets in an adapter_config.json.

    Raises:
        Refusal: `adapter_mismatch`.
    """
    rank = config.get("r")
    if type(rank) is not int or not 0 < rank <= rank_limit:
        raise unusable(f"its rank is {str(rank)[:20]}; the engine takes 1 to {rank_limit}")
    alpha = config.get("lora_alpha")
    if not _is_number(alpha):
        raise unusable(f"its `lora_alpha` is {str(alpha)[:20]} and not a number")
    ranks = _patterns(config, "rank_pattern")
    for _, value in ranks:
        if type(value) is not int or not 0 < value <= rank_limit:
            raise unusable(f"`rank_pattern` has the rank {str(value)[:20]}; the engine takes 1 to {rank_limit}")
    for _, value in _patterns(config, "alpha_pattern"):
        if not _is_number(value):
            raise unusable(f"`alpha_pattern` has {str(value)[:20]}, which is not a number")
    named = _names(config, "target_modules")
    if not named:
        raise unusable("its `target_modules` names no module")
    return Targets(
        rank=rank,
        ranks=tuple((re.compile(rf"(.*\.)?({key})$"), value) for key, value in ranks),
        named=named,
        excluded=_names(config, "exclude_modules"),
        layers=_layers(config),
        layers_under=tuple(_layer_lists(config)),
    )


def unusable(why: str) -> Refusal:
    return Refusal(
        ErrorCode.adapter_mismatch,
        f"This LoRA adapter cannot be put on its base: {why}. Merge it and upload the whole model.",
    )


def _chosen(field: str, names: frozenset[str] | str, modules: Collection[str]) -> set[str]:
    if isinstance(names, str):
        try:
            return matching(names, list(modules)) if names else set()
        except RegexFailed as error:
            raise unusable(
                f"`{field}` is a regular expression, and {error}; list the names of the modules instead"
            ) from error
    return {module for module in modules if any(end in names for end in _ends(module))}


def _ends(module: str) -> Iterator[str]:
    """`a.b.c`, `b.c`, `c`."""
    yield module
    while "." in module:
        module = module.partition(".")[2]
        yield module


def _names(config: Mapping[str, Any], field: str) -> frozenset[str] | str:
    """The names, or the regular expression, under `field`; empty if there are none."""
    value = config.get(field) or ()
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value):
        return frozenset(value)
    raise unusable(f"its `{field}` is not a list of names")


def _patterns(config: Mapping[str, Any], field: str) -> list[tuple[str, Any]]:
    value = config.get(field) or {}
    if not isinstance(value, dict) or len(value) > MOST_PATTERNS:
        raise unusable(f"its `{field}` is not a mapping with at most {MOST_PATTERNS} names")
    for key in value:
        if len(key) > LONGEST_PATTERN or not _PATTERN.fullmatch(key):
            raise unusable(f"`{field}` has the key {key[:60]!r}; use names of modules or ends of names")
    return list(value.items())


def _layers(config: Mapping[str, Any]) -> frozenset[int] | None:
    value = config.get("layers_to_transform")
    if value is None or value == []:
        return None
    numbers = value if isinstance(value, list) else [value]
    if not all(type(number) is int for number in numbers):
        raise unusable("its `layers_to_transform` has other values than numbers of layers")
    return frozenset(numbers)


def _layer_lists(config: Mapping[str, Any]) -> Iterator[re.Pattern[str]]:
    value = config.get("layers_pattern") or []
    for name in value if isinstance(value, list) else [value]:
        if not isinstance(name, str) or len(name) > LONGEST_PATTERN or not _LAYER_NAME.fullmatch(name):
            raise unusable(f"its `layers_pattern` is {str(name)[:60]!r}, which is not the name of a list of layers")
        yield re.compile(rf"(?:^|.*?\.){name}\.([0-9]{{1,9}})\.")


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(float(str(value)))
