"""What an audit says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Say = Callable[[str], None]
"""Tells people what is being looked at."""


@dataclass(frozen=True, slots=True)
class Breach:
    """An invariant that does not hold, of which work item (or ``-``), and what shows it: ids, times, commits."""

    invariant: str
    work_item: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.invariant} {self.work_item}: {self.evidence}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found; ``landings``: merges on base branches; ``unread``: what could not be read."""

    breaches: tuple[Breach, ...] = ()
    unread: tuple[str, ...] = ()
    landings: int = 0


@dataclass(frozen=True, slots=True)
class Audit:
    """One pass. ``unread`` names what could not be looked at: what is said about it is not the whole. ``notes`` says
    what was not looked for."""

    tasks: int
    effects: int
    landings: int
    breaches: tuple[Breach, ...]
    unread: tuple[str, ...]
    notes: tuple[str, ...] = ()
