"""ORC010: no clock and no chance in ``domain/``.

``decide(view, now)`` gives the same answer for the same snapshot, or its tests prove nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from tools.lint.finding import Finding
from tools.lint.source import Source, calls

CODE: Final = "ORC010"
_READS: Final = frozenset(
    {"datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"}
)
_MODULES: Final = frozenset({"time", "random", "secrets", "uuid"})


def check(source: Source) -> Iterator[Finding]:
    if not source.within(["orchestrator/domain/"]):
        return
    for call in calls(source.tree):
        name = source.qualified(call.func)
        if name in _READS or (isinstance(call.func, ast.Attribute | ast.Name) and name.partition(".")[0] in _MODULES):
            yield source.finding(call, CODE, f"{name}() in the pure core: take the value as an argument")
