"""ORC005: only ``settings.py`` reads the environment.

A second reader is a setting that ``doctor`` does not show, ``config check`` does not check and no test knows.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from tools.lint.allowed import ENVIRONMENT_READERS
from tools.lint.finding import Finding
from tools.lint.source import Source

CODE: Final = "ORC005"
_READERS: Final = frozenset({"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv"})


def check(source: Source) -> Iterator[Finding]:
    if source.within(ENVIRONMENT_READERS):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute | ast.Name) and source.qualified(node) in _READERS:
            yield source.finding(
                node,
                CODE,
                f"{source.qualified(node)} outside orchestrator/settings.py: take a field of Settings",
            )
