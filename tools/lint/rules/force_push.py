"""ORC011: never ``git push --force``.

A branch moves forward, or only while it stands at the value we read (``--force-with-lease=<ref>:<old>``).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from tools.lint.finding import Finding
from tools.lint.source import Source, literal_text

CODE: Final = "ORC011"


def check(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        words = _words(node)
        if "push" in words and any(map(_is_force, words[words.index("push") :])):
            yield source.finding(
                node,
                CODE,
                "a forced push: push a fast-forward, or --force-with-lease=<ref>:<the value that was read>",
            )


def _words(node: ast.AST) -> list[str]:
    match node:
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Call(args=parts):
            return [literal_text(part) or "" for part in parts]
        case ast.Constant(value=str(text)):
            return text.split()
        case _:
            return []


def _is_force(word: str) -> bool:
    return word in ("--force", "-f", "--mirror", "--force-with-lease") or word.startswith("+")
