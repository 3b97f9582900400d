"""Which files are judged by which rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tools.lint.finding import Finding
from tools.lint.rules import HABITS, LAWS, Rule
from tools.lint.source import Source

PROGRAM: Final = ("orchestrator", "tasks", "web", "beat_schedule.py", "celeryconfig.py")
BESIDE: Final = ("tests", "tools", "benchmarks")
_UNREADABLE: Final = "ORC000"
# The demo's sample service is data for the orchestrator, not a part of it.
_SAMPLES: Final = ("orchestrator/demo/sample/", "tests/fixtures/")


def findings(root: Path) -> list[Finding]:
    """All findings under the project's root, in order of place."""
    program = _judge(root, PROGRAM, LAWS + HABITS)
    beside = _judge(root, BESIDE, HABITS)
    return sorted({*program, *beside})


def _judge(root: Path, tops: Iterable[str], rules: Iterable[Rule]) -> Iterator[Finding]:
    for path in (path for top in tops for path in _python_files(root / top)):
        source = Source(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
        if not source.within(_SAMPLES):
            yield from judge(source, rules)


def _python_files(top: Path) -> Iterator[Path]:
    yield from [top] if top.is_file() else sorted(top.rglob("*.py"))


def judge(source: Source, rules: Iterable[Rule]) -> Iterator[Finding]:
    """Findings of ``rules`` in one file; a file that does not parse is one finding."""
    try:
        for rule in rules:
            yield from rule(source)
    except SyntaxError as error:
        yield Finding(source.path, error.lineno or 1, error.offset or 1, _UNREADABLE, f"does not parse: {error.msg}")
