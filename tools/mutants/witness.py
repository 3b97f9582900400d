"""A pytest plugin that writes what happened to each test as a line of JSON, to the file ``MUTANTS_WITNESS``.

Exit codes and summaries do not tell an assertion from an import that failed; whoever judges a mutant must know.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from typing import Final

import pytest

FILE: Final = "MUTANTS_WITNESS"
_LONGEST: Final = 20_000
_Wrapper = Generator[None, pytest.TestReport, pytest.TestReport]


def _say(**line: object) -> None:
    with open(os.environ[FILE], "a", encoding="utf-8") as file:  # noqa: PTH123  # a line at a time, unbuffered by us
        file.write(json.dumps(line) + "\n")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    kind = "" if call.excinfo is None else call.excinfo.type.__name__
    said = "" if call.excinfo is None else f"{call.excinfo.value}"
    _say(
        node=item.nodeid,
        when=report.when,
        outcome=report.outcome,
        seconds=report.duration,
        kind=kind,
        said=said[:_LONGEST],
    )
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _say(node=report.nodeid, when="collect", outcome="failed", seconds=0.0, kind="", said=report.longreprtext)
