"""Finds the numbers in a source text that could be tuned: all but those whose place shows that they are not."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from contextlib import suppress
from fractions import Fraction

HALVES = (ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
"""Of these operations 2 may be one side: doubles, halves, squares."""
TURN_TEXT_INTO_NUMBERS = {"float", "int", "complex", "Decimal", "Fraction", "float16", "float32", "float64"}
DISPLAYS = (ast.List, ast.Tuple, ast.Set, ast.Dict)


def numbers_in(source: str, allowed_names: Collection[str] = ()) -> list[str]:
    """Line and value of every number that may be tuned.

    Harmless are 0 everywhere; within functions also 1 and -1, except in a list (unless it is `[-1] * n`) or under a
    NAME; and 2 as a place in a sequence, as an array's axis, as exponent, factor or divisor. A calculation with
    literals only is a number too, and so is a text that is turned into one.

    Args:
        allowed_names: module constants that are not tuned.
    """
    finder = _Finder(allowed_names)
    finder.visit(ast.parse(source))
    return [f"line {line}: {value}" for line, value in finder.found]


class _Finder(ast.NodeVisitor):
    """Keeps the path to the node that it visits. `_within`: whether that is the code of a function."""

    def __init__(self, allowed_names: Collection[str]) -> None:
        self.found: list[tuple[int, object]] = []
        self._allowed_names = allowed_names
        self._path: list[ast.AST] = []
        self._within = False

    def visit(self, node: ast.AST) -> None:
        if set(_names(node)) & set(self._allowed_names):
            return
        outer = self._within
        if isinstance(node, ast.ClassDef) or any(name.isupper() for name in _names(node)):
            self._within = False
        self._path.append(node)
        super().visit(node)
        self._path.pop()
        self._within = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_function(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_outside(node.args)
        self.visit(node.body)

    def visit_Call(self, node: ast.Call) -> None:
        if _name_of(node.func) in TURN_TEXT_INTO_NUMBERS:
            for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
                if isinstance(argument, ast.Constant) and _is_number_in_text(argument.value):
                    self.found.append((argument.lineno, repr(argument.value)))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        is_number = isinstance(value, int | float | complex) and not isinstance(value, bool)
        if is_number and not self._is_harmless(value):
            self.found.append((node.lineno, value))

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for outside in (*node.decorator_list, node.args, node.returns):
            self._visit_outside(outside)
        outer, self._within = self._within, True
        for statement in node.body:
            self.visit(statement)
        self._within = outer

    def _visit_outside(self, node: ast.AST | None) -> None:
        outer, self._within = self._within, False
        if node is not None:
            self.visit(node)
        self._within = outer

    def _is_harmless(self, value: object) -> bool:
        parents = self._path[-2::-1]
        if isinstance(parents[0], ast.UnaryOp):
            parents = parents[1:]
        parent = parents[0]
        if isinstance(parent, ast.BinOp) and _is_literal(parent.left) and _is_literal(parent.right):
            return False
        if value == 0 and not isinstance(value, complex):
            return True
        if not self._within:
            return False
        is_place = (
            isinstance(parent, ast.Subscript | ast.Slice)
            or (isinstance(parent, ast.Tuple) and isinstance(parents[1], ast.Subscript))
            or (isinstance(parent, ast.keyword) and parent.arg == "axis")
        )
        if value == 1:
            fills = isinstance(parents[1], ast.BinOp) and isinstance(parents[1].op, ast.Mult)
            return is_place or fills or not isinstance(parent, DISPLAYS)
        is_two = isinstance(value, int) and value == 2
        return is_two and (is_place or (isinstance(parent, ast.BinOp) and isinstance(parent.op, HALVES)))


def _names(node: ast.AST) -> Iterator[str]:
    """The names that a statement or a walrus gives a value to."""
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
        targets = [node.target]
    else:
        return
    for target in targets:
        for part in ast.walk(target):
            if isinstance(part, ast.Name):
                yield part.id


def _name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_literal(node: ast.AST) -> bool:
    """Whether it is a number, or calculated from numbers alone."""
    if isinstance(node, ast.UnaryOp):
        return _is_literal(node.operand)
    if isinstance(node, ast.BinOp):
        return _is_literal(node.left) and _is_literal(node.right)
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float | complex)


def _is_number_in_text(value: object) -> bool:
    """Whether it is a text like "0.85" or "1/3". Neither "inf" nor "nan" can be tuned."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    with suppress(ValueError, ZeroDivisionError):
        return isinstance(value, str) and Fraction(value.strip()) is not None
    return False
