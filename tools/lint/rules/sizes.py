"""ORC008 and ORC009: modules over 500 lines, functions over 60.

A function that is better long says why on its ``def`` line (``# ORC009: <reason>``), a module in its first
ten lines.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from tools.lint.finding import Finding
from tools.lint.source import FunctionNode, Source

MODULE_CODE: Final = "ORC008"
FUNCTION_CODE: Final = "ORC009"
MODULE_LINES: Final = 500
FUNCTION_LINES: Final = 60


def check(source: Source) -> Iterator[Finding]:
    length = len(source.lines)
    if length > MODULE_LINES and not any(_gives_reason(line, MODULE_CODE) for line in source.lines[:10]):
        yield source.finding(
            source.tree,
            MODULE_CODE,
            f"the module has {length} lines, more than {MODULE_LINES}: split it by subject",
        )
    for node in ast.walk(source.tree):
        if isinstance(node, FunctionNode):
            yield from _check_function(node, source)


def _check_function(node: FunctionNode, source: Source) -> Iterator[Finding]:
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    if length > FUNCTION_LINES and not _gives_reason(source.lines[node.lineno - 1], FUNCTION_CODE):
        yield source.finding(
            node,
            FUNCTION_CODE,
            f"{node.name}() has {length} lines, more than {FUNCTION_LINES}: name its parts",
        )


def _gives_reason(line: str, code: str) -> bool:
    return re.search(rf"# {code}: \S+ \S+", line) is not None
