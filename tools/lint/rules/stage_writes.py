"""ORC001: only ``store/stage_commits.py`` writes ``tasks.stage``.

A second writer would not carry stage, stage_seq and epoch in its WHERE: the guards of the stage commit would be
void. The row of a new task is inserted by ``store/tasks.py``, which is no commit: nobody can race with it yet.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from tools.lint.allowed import STAGE_WRITER, TASK_INSERTER
from tools.lint.finding import Finding
from tools.lint.source import Source, called_name, calls, dotted, literal_text

CODE: Final = "ORC001"
# Up to the WHERE only: a stage that is read in a guard is no write.
_SET_STAGE: Final = r"\bset\b(?:(?!\bwhere\b).)*?[\s,(]\"?stage\"?\s*(?:=|,|\))"
_TASKS: Final = r"(?:[\w{}]+\.)?\"?tasks\"?\b"
_UPDATE_SQL: Final = re.compile(
    rf"\bupdate\s+(?:only\s+)?{_TASKS}(?:(?!\bwhere\b).)*?{_SET_STAGE}"
    rf"|\binsert\s+into\s+{_TASKS}.*?\bdo\s+update\s+{_SET_STAGE}",
    re.IGNORECASE | re.DOTALL,
)
_INSERT_SQL: Final = re.compile(rf"\binsert\s+into\s+{_TASKS}", re.IGNORECASE)


def check(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if not source.within([STAGE_WRITER]) and _updates_stage(node, source):
            yield source.finding(
                node, CODE, f"tasks.stage is written outside {STAGE_WRITER}: call commit_stage_cas instead"
            )
        elif not source.within([STAGE_WRITER, TASK_INSERTER]) and _inserts_task(node, source):
            yield source.finding(
                node,
                CODE,
                f"a row of tasks is inserted outside {TASK_INSERTER}: start the task through it instead",
            )


def _updates_stage(node: ast.AST, source: Source) -> bool:
    if isinstance(node, ast.Call):
        return called_name(node) == "values" and _sets_stage(node) and _statement_on_tasks(node, "update")
    return _matches(node, source, _UPDATE_SQL)


def _inserts_task(node: ast.AST, source: Source) -> bool:
    if isinstance(node, ast.Call):
        return called_name(node) == "insert" and _on_tasks(node)
    return _matches(node, source, _INSERT_SQL)


def _matches(node: ast.AST, source: Source, pattern: re.Pattern[str]) -> bool:
    text = None if id(node) in source.docstrings else literal_text(node)
    return text is not None and pattern.search(text) is not None


def _sets_stage(values: ast.Call) -> bool:
    keys: list[ast.expr] = [key for arg in values.args if isinstance(arg, ast.Dict) for key in arg.keys if key]
    return any(keyword.arg in ("stage", None) for keyword in values.keywords) or any(map(_names_stage, keys))


def _names_stage(key: ast.expr) -> bool:
    return literal_text(key) == "stage" or dotted(key).rpartition(".")[2] == "stage"


def _statement_on_tasks(chain: ast.Call, verb: str) -> bool:
    """Whether the chain of calls under ``chain`` starts as ``update(tasks)`` or ``tasks.update()``."""
    return any(called_name(call) == verb and _on_tasks(call) for call in calls(chain.func))


def _on_tasks(call: ast.Call) -> bool:
    target = call.args[0] if call.args else call.func.value if isinstance(call.func, ast.Attribute) else None
    return target is not None and dotted(target).rpartition(".")[2].lower() in (
        "tasks",
        "task",
        "tasks_table",
    )
