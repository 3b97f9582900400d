"""ORC004: vendor words only in adapters and configuration.

The core decides by the kinds of ``domain/errors.py`` and by ports; a vendor's name in it is a decision that
the next vendor would have to be added to. Comments and docstrings may name vendors: a reason often has to.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from tools.lint.allowed import VENDOR_PLACES, VENDOR_WORDS_AS_ACTORS
from tools.lint.finding import Finding
from tools.lint.source import Source

CODE: Final = "ORC004"
VENDORS: Final = (
    "plane", "gitea", "github", "forgejo", "telegram", "claude", "codex", "gemini", "opencode", "apprise",
)  # fmt: skip
_ACTORS: Final = ("plane", "gitea")
_WORD: Final = re.compile("|".join(VENDORS), re.IGNORECASE)


def check(source: Source) -> Iterator[Finding]:
    if source.within(VENDOR_PLACES):
        return
    allowed = _ACTORS if source.within(VENDOR_WORDS_AS_ACTORS) else ()
    if word := _vendor(source.path.replace("/", " "), ()):
        yield source.finding(source.tree, CODE, _message(word))
    for node in ast.walk(source.tree):
        if id(node) not in source.docstrings and not _is_actor(node):
            for text in _texts(node):
                if word := _vendor(text, allowed):
                    yield source.finding(node, CODE, _message(word))


def _message(word: str) -> str:
    return f"vendor word {word!r} outside adapters and configuration: put the difference behind a port"


def _vendor(text: str, allowed: tuple[str, ...]) -> str | None:
    found = (match.group().lower() for match in _WORD.finditer(text) if _stands_alone(match))
    return next((word for word in found if word not in allowed), None)


def _stands_alone(match: re.Match[str]) -> bool:
    """``PlaneTracker``, ``plane_url`` and ``the plane`` hold the word; ``planet`` and ``explanes`` do not."""
    word, before, after = match.group(), match.string[: match.start()][-1:], match.string[match.end() :][:1]
    starts = not before.isalpha() or (word[0].isupper() and before.islower())
    ends = not after.isalpha() or (word[-1].islower() and after.isupper())
    return starts and ends


def _is_actor(node: ast.AST) -> bool:
    """``Actor.PLANE``: the names of those who may enter a transition are ours."""
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Actor"


def _texts(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)) | ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text):
            yield text
        case ast.FunctionDef(name=text) | ast.AsyncFunctionDef(name=text) | ast.ClassDef(name=text):
            yield text
        case ast.keyword(arg=str(text)) | ast.ImportFrom(module=str(text)):
            yield text
        case ast.alias(name=text, asname=other):
            yield from (text, other or "")
        case _:
            return
