"""ORC012: no module called utils, helpers, common, manager or the like: the name says nothing of its subject."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from tools.lint.finding import Finding
from tools.lint.source import Source

CODE: Final = "ORC012"
_EMPTY_NAMES: Final = frozenset(
    {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc", "shared", "base_utils"}
)


def check(source: Source) -> Iterator[Finding]:
    empty = _EMPTY_NAMES.intersection(PurePosixPath(source.path).with_suffix("").parts)
    if empty:
        yield source.finding(
            source.tree, CODE, f"{sorted(empty)[0]!r} says nothing: name the module after what it knows"
        )
