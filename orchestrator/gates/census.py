"""Counts the tests of a Python file, and what each of them is worth: does it assert, does it at least run anything."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Worth(IntEnum):
    """What a test can show. Lower is less."""

    NOTHING = 0
    RUNS = 1
    ASSERTS = 2


@dataclass(frozen=True, slots=True)
class CountedTest:
    """One test function. ``body`` tells two bodies apart, whatever their functions are called."""

    path: str
    name: str
    body: str
    worth: Worth

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"


_Function = ast.FunctionDef | ast.AsyncFunctionDef
_ASSERTING: Final = ("assert", "check", "expect", "verify", "ensure", "should", "must", "raises", "warns", "fail")
"""A call whose name begins so is taken for an assertion: of a framework, or of the project's own."""
_SKIPPING: Final = frozenset({"skip", "skipif", "skipunless", "skiptest", "xfail", "expectedfailure"})


def census_of(path: str, source: str) -> list[CountedTest] | None:
    """All test functions at the top and in classes; None when the file does not parse, so that none of them runs."""
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    own = {node.name: node for node in ast.walk(module) if isinstance(node, _Function)}
    return list(_tests(path, module, own, skipped=_skips_all(module)))


def _tests(
    path: str, holder: ast.Module | ast.ClassDef, own: dict[str, _Function], *, skipped: bool
) -> Iterator[CountedTest]:
    for node in holder.body:
        if isinstance(node, ast.ClassDef):
            yield from _tests(path, node, own, skipped=skipped or _is_marked(node) or _skips_all(node))
        elif isinstance(node, _Function) and node.name.startswith("test"):
            worth = Worth.NOTHING if skipped or _is_marked(node) else _worth(node, own)
            yield CountedTest(path, node.name, _body_digest(node), worth)


def _worth(test: _Function, own: dict[str, _Function]) -> Worth:
    if _skips_itself(test):
        return Worth.NOTHING
    called = [own[name] for name in map(_last_name, _calls(test)) if name in own]
    if any(map(_asserts, [test, *called])):
        return Worth.ASSERTS
    return Worth.RUNS if any(_calls(test)) else Worth.NOTHING


def _asserts(function: _Function) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant):
            return True
        if isinstance(node, ast.Raise):
            return True
    return any(_last_name(call).lstrip("_").lower().startswith(_ASSERTING) for call in _calls(function))


def _calls(function: _Function) -> list[ast.Call]:
    return [node for node in ast.walk(function) if isinstance(node, ast.Call)]


def _is_marked(node: _Function | ast.ClassDef) -> bool:
    return any(_names_a_skip(decorator) for decorator in node.decorator_list)


def _skips_all(holder: ast.Module | ast.ClassDef) -> bool:
    """``pytestmark = pytest.mark.skip``, ``__test__ = False``, or a skip of the whole module as a statement."""
    for node in holder.body:
        if isinstance(node, ast.Assign):
            names = {target.id for target in node.targets if isinstance(target, ast.Name)}
            if "pytestmark" in names and any(map(_names_a_skip, ast.walk(node.value))):
                return True
            if "__test__" in names and isinstance(node.value, ast.Constant) and not node.value.value:
                return True
        elif isinstance(node, ast.Expr) and _names_a_skip(node.value):
            return True
    return False


def _skips_itself(test: _Function) -> bool:
    """A skip or a bare return before the test has done anything."""
    for node in test.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        return isinstance(node, ast.Return) or (isinstance(node, ast.Expr) and _names_a_skip(node.value))
    return False


def _names_a_skip(node: ast.AST) -> bool:
    return isinstance(node, ast.Call | ast.Attribute | ast.Name) and _last_name(node).lower() in _SKIPPING


def _last_name(node: ast.AST) -> str:
    """``raises`` of ``pytest.raises(...)``."""
    while isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _body_digest(test: _Function) -> str:
    parts = [ast.dump(test.args), *map(ast.dump, test.body)]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
