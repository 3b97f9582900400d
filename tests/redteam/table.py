"""What ``docs/security.md`` says of each attempt, and whether a run went as it says."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from orchestrator.domain.configuration import Sandbox
from tests.redteam.conftest import ATTACK, Attacked

SECURITY: Final = Path(__file__).parents[2] / "docs" / "security.md"
ATTEMPTS: Final = re.findall(r'^@attempt\("(.+)"\)$', ATTACK.read_text(), re.M)
FAILS, SUCCEEDS, NOT_ROOT = "fails", "**succeeds**", "fails, unless it is root"
_ROW: Final = re.compile(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| [^|]+ \|$", re.M)
_BEGIN, _END = "## What a hostile agent gets", "## "

SEEN_OUTSIDE: Final[Mapping[str, Callable[[Attacked], bool]]] = {
    "write the exit record of its own run": lambda one: (one.run_dir / "exit.json.red-team").exists(),
    "write into another item's worktree": lambda one: any(one.run_dir.parents[1].rglob("red-team.py")),
    "write outside of its own directories": lambda one: one.sprung.with_name("elsewhere").exists(),
    "configure the agents that come after it": lambda one: bool(one.obeyed_later),
}
"""A write in the sandbox may go to a directory of its own under that name: what counts is what stands outside."""


def table() -> dict[str, tuple[str, str]]:
    """(in the sandbox, without one) by attempt, in the order of the document."""
    part = SECURITY.read_text().split(_BEGIN)[1].split(f"\n{_END}")[0]
    rows = [row for row in _ROW.findall(part) if not row[0].startswith(("attempt", "---"))]
    return {attempt: (inside, outside) for attempt, inside, outside in rows}


def went_as_it_says(attack: Attacked, attempt: str) -> None:
    """Asserts it. What only another user than root can be kept from is skipped for root, and said."""
    expected = table()[attempt][0 if attack.mode is Sandbox.REQUIRED else 1]
    if expected == NOT_ROOT and os.geteuid() == 0:
        pytest.skip("nothing is kept from root: run the suite as another user to see this attempt fail")
    look = SEEN_OUTSIDE.get(attempt)
    succeeded = attack.succeeded(attempt) if look is None else look(attack)
    assert succeeded is (expected == SUCCEEDS), attack.got[attempt]


def no_trap_was_sprung(attack: Attacked) -> None:
    """Our git has committed, published, checked out and planted anew, with what the agent planted in its worktree."""
    assert not attack.sprung.exists()
