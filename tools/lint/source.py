"""One parsed file, and the few questions about syntax trees that every rule asks."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from tools.lint.finding import Finding

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """A file by its path from the project's root (with ``/``) and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Raises SyntaxError."""
        return ast.parse(self.text, filename=self.path)

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def imports(self) -> dict[str, str]:
        """Local name -> full dotted name, for every import in the file, also those inside functions."""
        return dict(_imported_names(ast.walk(self.tree)))

    @cached_property
    def docstrings(self) -> frozenset[int]:
        """``id`` of each string node that documents something; attribute docstrings are among them."""
        return frozenset(
            id(node.value)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        )

    def qualified(self, node: ast.expr) -> str:
        """Dotted name of an expression with imports resolved; ``""`` where it has none."""
        head, _, rest = dotted(node).partition(".")
        resolved = self.imports.get(head, head)
        return f"{resolved}.{rest}" if rest else resolved

    def within(self, places: Iterable[str]) -> bool:
        """Whether the file is one of ``places``; a place that ends with ``/`` is a folder."""
        return any(self.path == place or (place.endswith("/") and self.path.startswith(place)) for place in places)

    def finding(self, node: ast.AST, code: str, message: str) -> Finding:
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
        return Finding(self.path, line, column, code, message)


def _imported_names(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of a chain of names. Calls and subscripts in it stand for what they were called on."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            head = dotted(value)
            return f"{head}.{attr}" if head else attr
        case ast.Call(func=inner) | ast.Subscript(value=inner):
            return dotted(inner)
        case _:
            return ""


def called_name(call: ast.Call) -> str:
    """Last part of what is called: ``merge`` in ``a.b().merge(x)``."""
    return dotted(call.func).rpartition(".")[2]


def receiver(call: ast.Call) -> str:
    """Dotted name of what a method is called on; ``""`` for a plain function."""
    return dotted(call.func.value) if isinstance(call.func, ast.Attribute) else ""


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def walk_now(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Everything below ``nodes`` that runs when they run: not the bodies of functions defined in them."""
    for node in nodes:
        yield node
        if not isinstance(node, FunctionNode | ast.Lambda):
            yield from walk_now(ast.iter_child_nodes(node))


def literal_text(node: ast.AST) -> str | None:
    """Text of a string or f-string; each replaced part reads ``{}``. None for anything else."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(literal_text(value) or "{}" for value in values)
        case _:
            return None
