"""ORC013: what is put into the text of an SQL statement was written in this project; every value is bound.

Ours are literals, names in capitals, parameters declared ``LiteralString``, and whatever the same file makes of them
only: by conditions, joins, loops over constants, or functions that return nothing else.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from tools.lint.finding import Finding
from tools.lint.source import FunctionNode, Source, called_name, dotted, literal_text, walk_now

CODE: Final = "ORC013"
_STATEMENT: Final = re.compile(
    r"^\s*(with\s+\w+\s+as|select\s.+\sfrom|insert\s+into|update\s+\S+\s.*\bset|delete\s+from|alter\s+table"
    r"|create\s+\w+|drop\s+\w+|truncate)\b",
    re.IGNORECASE | re.DOTALL,
)
_CONSTANT: Final = re.compile(r"(\w+\.)*_?[A-Z][A-Z0-9_]*")


def check(source: Source) -> Iterator[Finding]:
    ours = _Ours(source)
    for node in ast.walk(source.tree):
        foreign = next((part for part in _inserted(node) if not ours.made(part)), None)
        if foreign is not None:
            yield source.finding(
                node, CODE, f"{ast.unparse(foreign)} stands in the text of a statement: bind it as a parameter"
            )


def _inserted(node: ast.AST) -> list[ast.expr]:
    """The expressions that become a part of a statement's text."""
    match node:
        case ast.JoinedStr(values=values) if _is_statement(node):
            return [value for value in values if isinstance(value, ast.FormattedValue)]
        case ast.BinOp(left=left, op=ast.Add() | ast.Mod(), right=right) if _is_statement(left):
            return [right]
        case ast.Call(func=ast.Attribute(value=template), args=args, keywords=keywords):
            formats = called_name(node) == "format" and _is_statement(template)
            return [*args, *(keyword.value for keyword in keywords)] if formats else []
        case _:
            return []


def _is_statement(node: ast.AST) -> bool:
    return _STATEMENT.search(literal_text(node) or "") is not None


class _Ours:
    """Tells whether an expression can only hold text that this file wrote. "Cannot tell" counts as foreign."""

    def __init__(self, source: Source) -> None:
        self._values: dict[str, list[ast.expr]] = {}
        self._foreign: set[str] = set()
        self._asked: set[str] = set()
        for node in ast.walk(source.tree):
            self._learn(node)

    def made(self, node: ast.expr) -> bool:
        if _CONSTANT.fullmatch(dotted(node)):
            return True
        match node:
            case ast.Constant():
                return True
            case ast.Name(id=name):
                return self._only_ours(name)
            case ast.Call(func=ast.Attribute(value=glue, attr="join"), args=[parts]):
                return self.made(glue) and self.made(parts)
            case ast.Call(func=ast.Name(id="sorted" | "map" | "str"), args=args):
                return all(map(self.made, args))
            case ast.Call(func=ast.Name(id=name)):
                return self._only_ours(f"{name}()")
            case _:
                return all(map(self.made, self._parts(node) or [ast.Name(id="")]))

    def _parts(self, node: ast.expr) -> list[ast.expr]:
        match node:
            case ast.JoinedStr(values=values) | ast.Tuple(elts=values) | ast.List(elts=values):
                return values
            case ast.FormattedValue(value=value) | ast.GeneratorExp(elt=value) | ast.ListComp(elt=value):
                return [value]
            case ast.IfExp(body=first, orelse=second) | ast.BinOp(left=first, right=second):
                return [first, second]
            case _:
                return []

    def _only_ours(self, name: str) -> bool:
        values = self._values.get(name, [])
        if name in self._foreign or not values or name in self._asked:
            return False
        self._asked.add(name)
        try:
            return all(map(self.made, values))
        finally:
            self._asked.discard(name)

    def _learn(self, node: ast.AST) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                self._bind(targets, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
                self._bind([target], value)
            case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                self._bind([target], value)
            case ast.FunctionDef(name=name, body=body):
                returned = [inner.value for inner in walk_now(body) if isinstance(inner, ast.Return)]
                self._values[f"{name}()"] = [value or ast.Name(id="") for value in returned]
                self._learn_parameters(node)
            case _:
                return

    def _bind(self, targets: list[ast.expr], value: ast.expr) -> None:
        """Names are told apart by file only: one foreign use of a name makes all its uses foreign."""
        for target in targets:
            for name in (inner.id for inner in ast.walk(target) if isinstance(inner, ast.Name)):
                self._values.setdefault(name, []).append(value)

    def _learn_parameters(self, function: FunctionNode) -> None:
        for arg in function.args.posonlyargs + function.args.args + function.args.kwonlyargs:
            if arg.annotation is None or "LiteralString" not in ast.unparse(arg.annotation):
                self._foreign.add(arg.arg)
            else:
                self._values.setdefault(arg.arg, []).append(ast.Constant(""))
