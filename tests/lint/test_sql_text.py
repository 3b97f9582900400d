"""ORC013."""

from __future__ import annotations

import pytest

from tests.lint.judging import codes


@pytest.mark.parametrize(
    "code",
    [
        'text(f"SELECT id FROM jobs WHERE status = {status}")',
        'text(f"UPDATE jobs SET status = {job.status!r} WHERE id = :id")',
        "text(f\"DELETE FROM jobs WHERE id IN ({', '.join(ids)})\")",
        'text("SELECT id FROM jobs WHERE id = %s" % key)',
        'text("SELECT id FROM jobs WHERE id = " + key)',
        'text("SELECT id FROM {}".format(table))',
        'text(f"\\n  WITH due AS (SELECT {columns} FROM jobs) SELECT 1")',
        'text(f"CREATE DATABASE {name}")',
        'def change(what: str):\n    text(f"UPDATE jobs SET {what}")',
        'guard = "a" if x else x\ntext(f"DELETE FROM jobs WHERE {guard}")',
        'def f():\n    if x:\n        return x\n    return ""\ntext(f"DELETE FROM jobs WHERE {f()}")',
        'key = "id"\ndef f(key: str):\n    text(f"DELETE FROM jobs WHERE {key}")',
        'for key in keys:\n    text(f"DELETE FROM jobs WHERE {key}")',
        'a = a + "x"\ntext(f"DELETE FROM jobs WHERE {a}")',
    ],
)
def test_a_value_in_the_text_of_a_statement_is_found(code: str) -> None:
    assert codes("orchestrator/store/jobs.py", code) == ["ORC013"]


@pytest.mark.parametrize(
    "code",
    [
        'text(f"SELECT {COLUMNS} FROM jobs WHERE id = :id")',
        'text(f"SELECT {schema._LIVE_COLUMNS} FROM jobs")',
        'text("SELECT id FROM jobs WHERE " + _IS_DUE)',
        'text("SELECT id FROM jobs " + "WHERE id = :id")',
        'log.info("update of %s", name)',
        'f"update {name}"',
        'guard = "AND id = :i" if owner else ""\ntext(f"UPDATE jobs SET a = 1 WHERE b = :b {guard}")',
        'def fences(held):\n    return f"a {B}" if held else "b"\ntext(f"UPDATE jobs SET a = 1 WHERE {fences(x)}")',
        'for name, table in TRIGGERS:\n    text(f"CREATE TRIGGER {name} ON {table}")',
        "text(f\"UPDATE jobs SET {', '.join(f'{c} = :{c}' for c in COLUMNS)}\")",
        'def change(what: LiteralString):\n    text(f"UPDATE jobs SET {what}")',
    ],
)
def test_constants_and_prose_pass(code: str) -> None:
    assert codes("orchestrator/store/jobs.py", code) == []
