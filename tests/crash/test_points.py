"""Every named point of the code is one at which some test makes a process die, stop, fail or wait."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.failpoints import POINTS
from tests.crash.cells import cells

TESTS: Final = Path(__file__).parents[1]
_ABOUT_THE_SWITCH: Final = frozenset({"unit/test_failpoints.py", "unit/test_settings.py"})
"""Tests of arming itself: no process comes to the points that they name."""
_ARMED: Final = re.compile(r"([a-z_*]+(?:\.[a-z_*]+)+)=[a-z_*]+")


def _texts(tree: ast.AST) -> Iterator[str]:
    """Texts of a module; what an f-string fills in is a star."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(one.value) if isinstance(one, ast.Constant) else "*" for one in node.values)


def _written() -> set[str]:
    """Patterns of the points that tests arm by name, and names that they hand to a helper which arms them."""
    found: set[str] = set()
    for file in TESTS.rglob("*.py"):
        if str(file.relative_to(TESTS)) in _ABOUT_THE_SWITCH or file == Path(__file__):
            continue
        for text in _texts(ast.parse(file.read_text())):
            found.update(_ARMED.findall(text))
            if text in POINTS:
                found.add(text)
    return found


def test_no_point_is_without_a_test_that_stands_at_it() -> None:
    patterns = [re.compile(re.escape(one).replace(r"\*", "[a-z_]+")) for one in _written()]
    stood_at = {cell.point for cell in cells()}
    missed = {one for one in POINTS - stood_at if not any(pattern.fullmatch(one) for pattern in patterns)}
    assert sorted(missed) == []


def test_every_point_of_the_matrix_is_one_of_the_code() -> None:
    assert {cell.point for cell in cells()} - {""} <= POINTS
