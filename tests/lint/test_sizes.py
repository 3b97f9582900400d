"""ORC008 and ORC009."""

from __future__ import annotations

from tests.lint.judging import codes

PATH = "orchestrator/store/jobs.py"


def _function(lines: int, comment: str = "") -> str:
    return f"def f() -> None:{comment}\n" + "    x = 1\n" * (lines - 1)


def test_a_function_over_sixty_lines_is_found() -> None:
    assert codes(PATH, _function(60)) == []
    assert codes(PATH, _function(61)) == ["ORC009"]


def test_a_long_function_with_its_reason_passes() -> None:
    assert codes(PATH, _function(61, "  # ORC009: one statement, read top down")) == []
    assert codes(PATH, _function(61, "  # ORC009:")) == ["ORC009"]


def test_a_module_over_five_hundred_lines_is_found() -> None:
    assert codes(PATH, "x = 1\n" * 500) == []
    assert codes(PATH, "x = 1\n" * 501) == ["ORC008"]


def test_a_long_module_with_its_reason_passes() -> None:
    assert codes(PATH, "# ORC008: the table of all errors\n" + "x = 1\n" * 501) == []
