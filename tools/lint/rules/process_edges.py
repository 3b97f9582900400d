"""ORC006: ``except Exception`` only at a process edge.

Inside the core a broad except turns a lost race or a defect into silence. At an edge (base class of the
Celery tasks, a unit of a sweep, a web handler, the command line) it keeps one bad row from stopping the rest,
and there it logs and counts. A handler that raises again hides nothing and may stand anywhere.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from tools.lint.allowed import BROAD_CATCHERS
from tools.lint.finding import Finding
from tools.lint.source import Source, dotted

CODE: Final = "ORC006"
_BROAD: Final = frozenset({"Exception", "BaseException"})


def check(source: Source) -> Iterator[Finding]:
    if source.within(BROAD_CATCHERS):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node) and not _raises_again(node):
            yield source.finding(
                node,
                CODE,
                "a broad except inside the core: catch a kind of orchestrator/domain/errors.py; at a real "
                "process edge log, count, and list the file in tools/lint/allowed.py",
            )


def _is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or dotted(kind) in _BROAD for kind in caught)


def _raises_again(handler: ast.ExceptHandler) -> bool:
    return isinstance(handler.body[-1], ast.Raise)
