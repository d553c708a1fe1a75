"""A route gets the thing whose type its parameter states."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any, get_args

from fastapi.params import Depends

import tokenforce_service
from tokenforce_service.http.dependencies import provided


def aliases() -> dict[str, Any]:
    """All `The… = Annotated[Kind, provided(Kind)]` of the service."""
    found = {}
    for module in pkgutil.walk_packages(tokenforce_service.__path__, "tokenforce_service."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            for part in get_args(value)[1:]:
                if isinstance(part, Depends) and getattr(part.dependency, "__module__", "") == provided.__module__:
                    found[name] = value
    return found


def test_the_type_of_every_alias_is_the_class_that_it_looks_up() -> None:
    found = aliases()
    assert {"TheStore", "TheSettings", "TheDeliveries"} <= found.keys()
    for name, alias in found.items():
        kind, dependency = get_args(alias)
        assert inspect.getclosurevars(dependency.dependency).nonlocals["kind"] is kind, name
