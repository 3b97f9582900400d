"""The end of one process of an agent run, as the proof of a STOP tells it: a line that a person and a page can read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_LINE: Final = re.compile(r"pid (\d+) \((.*)\) started at tick \d+: (.*)", re.DOTALL)
_DEAD: Final = re.compile(r"dead(?: at (\S+))?")


@dataclass(frozen=True, slots=True)
class Death:
    """``signals``: what it was sent, each with its time in UTC; none: it ended by itself, or with a sandbox around it.
    ``dead_at``: when it was first seen dead; empty in records of before times were kept."""

    pid: int
    name: str
    signals: tuple[str, ...]
    dead_at: str


def death_of(line: str) -> Death | None:
    """The process that a line of a proof is about; None for a line that is about none."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    *signals, last = found[3].split(", ")
    dead = _DEAD.fullmatch(last)
    return None if dead is None else Death(int(found[1]), found[2], tuple(signals), dead[1] or "")
