"""What a run of tests says about a mutant. Only a test whose assertion failed has killed it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

_BROKEN_KINDS: Final = frozenset(
    {"ImportError", "ModuleNotFoundError", "SyntaxError", "IndentationError", "NameError", "UnboundLocalError"}
)
_BROKEN_WORDS: Final = re.compile(r"^\s*(?:E\s+)?(?:" + "|".join(sorted(_BROKEN_KINDS)) + r")\b", re.MULTILINE)
"""As the last line of a traceback that a child process left and that an assertion quotes."""


class Fate(StrEnum):
    """How a mutant fared against some tests."""

    KILLED = "killed"
    SURVIVED = "SURVIVED"
    BROKEN = "BROKEN"
    """The mutant does not run at all, which says nothing about the protection."""
    UNCLEAR = "UNCLEAR"
    """A time-out of the test runner, or no test was run: nothing was shown."""


@dataclass(frozen=True, slots=True)
class Happened:
    """One phase of one test, as the witness saw it. ``kind`` is the exception's class, ``said`` its text."""

    node: str
    when: str
    outcome: str
    seconds: float
    kind: str
    said: str

    @property
    def line(self) -> str:
        """The exception in one line."""
        first = next((line.strip() for line in self.said.splitlines() if line.strip()), "")
        return f"{self.kind}: {first}" if first else self.kind


@dataclass(frozen=True, slots=True)
class Verdict:
    """``by``: the tests that killed it. ``why``: the first of them in one line, or what was wrong."""

    fate: Fate
    by: tuple[Happened, ...] = ()
    why: str = ""


def read(file: Path) -> list[Happened]:
    """The witness's lines; none when no test came so far."""
    if not file.exists():
        return []
    return [Happened(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def judge(seen: Sequence[Happened]) -> Verdict:
    """A kill is a failed assertion in a test's own body; whatever fails elsewhere makes the run worthless."""
    failed = [one for one in seen if one.outcome == "failed"]
    broken = [one for one in failed if _is_broken(one)]
    if broken:
        return Verdict(Fate.BROKEN, (), f"{broken[0].node} ({broken[0].when}): {_last(broken[0].said)}")
    unclear = [one for one in failed if _is_timeout(one)]
    killers = tuple(one for one in failed if one not in unclear)
    if killers:
        return Verdict(Fate.KILLED, killers, killers[0].line)
    if unclear:
        return Verdict(Fate.UNCLEAR, (), f"{unclear[0].node}: {unclear[0].line}")
    if not any(one.when == "call" and one.outcome == "passed" for one in seen):
        return Verdict(Fate.UNCLEAR, (), "no test was run")
    return Verdict(Fate.SURVIVED)


def _is_broken(one: Happened) -> bool:
    return one.when != "call" or one.kind in _BROKEN_KINDS or bool(_BROKEN_WORDS.search(one.said))


def _is_timeout(one: Happened) -> bool:
    return one.kind == "Failed" and one.said.startswith("Timeout")


def _last(said: str) -> str:
    return (said.strip().splitlines() or ["nothing was said"])[-1].strip()
