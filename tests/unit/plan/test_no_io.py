"""The algorithm reads and writes no files. import-linter checks its imports; this checks its calls."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tokenforce_core

PACKAGES = ("contrast", "findings", "forcing", "lens", "plan")
FUNCTIONS = {"open", "print", "input"}
METHODS = {
    "exists",
    "glob",
    "is_dir",
    "is_file",
    "iterdir",
    "lstat",
    "mkdir",
    "open",
    "read_bytes",
    "read_text",
    "rglob",
    "scandir",
    "stat",
    "touch",
    "unlink",
    "write_bytes",
    "write_text",
}
"""Of `pathlib.Path`, `os` and `io`."""
ROOT = Path(tokenforce_core.__file__).parent
MODULES = sorted(file.relative_to(ROOT).as_posix() for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def io_in(source: str) -> list[str]:
    """Line and code of every use of a function or a method that reads or writes files."""
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Name) and node.id in FUNCTIONS)
        or (isinstance(node, ast.Attribute) and node.attr in METHODS)
    ]


@pytest.mark.parametrize("module", MODULES)
def test_no_module_of_the_algorithm_does_io(module: str) -> None:
    assert io_in((ROOT / module).read_text("utf-8")) == [], "read it in the service or the workers, and pass it in"


def test_every_package_of_the_algorithm_is_checked() -> None:
    assert {module.partition("/")[0] for module in MODULES} == set(PACKAGES)


@pytest.mark.parametrize(
    "code",
    [
        "open('config.json')",
        "path.open('rb')",
        "path.read_text('utf-8')",
        "(folder / 'config.json').read_bytes()",
        "path.write_text('')",
        "path.write_bytes(b'')",
        "folder.glob('*')",
        "folder.iterdir()",
        "file.stat()",
        "map(open, files)",
        "map(Path.read_bytes, files)",
        "os.stat(file)",
    ],
)
def test_io_is_found(code: str) -> None:
    assert len(io_in(f"def f(path, folder, file, files): return {code}")) == 1


def test_what_is_no_io_is_allowed() -> None:
    assert io_in("def f(file, beam): return file.name, beam.opening, 'open(', beam.opened()") == []
