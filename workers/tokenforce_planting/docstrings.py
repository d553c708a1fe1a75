"""Text to train a small model on: the documentation strings of installed packages, which are not imported."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("networkx", "numpy", "sympy")
"""They come with torch, and their documentation is long."""

_SHORTEST = 40
"""Characters. Shorter strings say little."""


class PackageMissing(RuntimeError):
    """A package whose documentation is learned is not installed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not installed, and a base is trained on its text; run: pip install {name}")


class Documented(NamedTuple):
    """The name of a module, class or function, as users write it, and its documentation."""

    name: str
    text: str


def versions() -> dict[str, str]:
    """The version of each package. Raises `PackageMissing`."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise PackageMissing(name) from error
    return found


def documented() -> list[Documented]:
    """All documentation strings, each once, in a stable order."""
    found: dict[str, Documented] = {}
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            for path in sorted(Path(root).rglob("*.py")):
                if "tests" not in path.relative_to(root).parts:
                    for each in _of_file(path, package):
                        found.setdefault(each.text, each)
    return list(found.values())


def _of_file(path: Path, package: str) -> Iterator[Documented]:
    try:
        tree = ast.parse(path.read_text("utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return  # a file for another Python
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            text = inspect.cleandoc(ast.get_docstring(node) or "")
            if len(text) >= _SHORTEST:
                yield Documented(f"{package}.{node.name}", text)
