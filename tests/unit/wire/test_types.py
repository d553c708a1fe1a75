"""Rules that every wire type keeps, found by walking them all."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from pydantic import BaseModel, ValidationError

import tokenforce
from tokenforce.wire.base import WireAnswer, WireRequest


def models() -> list[type[BaseModel]]:
    for module in pkgutil.walk_packages(tokenforce.__path__, "tokenforce."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: set[type[BaseModel]] = set()
    left: list[type[BaseModel]] = [BaseModel]
    while left:
        below = left.pop().__subclasses__()
        found |= {model for model in below if model.__module__.startswith("tokenforce.")}
        left += below
    return sorted(found - {WireAnswer, WireRequest}, key=lambda model: model.__qualname__)


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__qualname__)
def test_frozen_and_lenient_in_answers_only(model: type[BaseModel]) -> None:
    assert model.model_config.get("frozen") is True
    extra = model.model_config.get("extra")
    shown_in_answers = model.__name__.endswith("Record")  # what was asked, as a newer service may have added to it
    assert extra == ("forbid" if issubclass(model, WireRequest) and not shown_in_answers else "ignore")
    made = model.model_construct()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(made, next(iter(model.model_fields)), None)


def test_the_walk_finds_them() -> None:
    assert {"Scan", "Report", "Finding", "Key", "Fingerprint", "ScanRequest"} <= {model.__name__ for model in models()}
