"""Which faults, of whom, when and for how long: one seed, one schedule. Pure: it can be printed and compared."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What is done. Whatever lasts is undone after its time, at the latest when the faults end."""

    KILL = "kill"
    STOP = "stop"
    FREEZE = "freeze"
    DROP_BROKER_DATA = "drop broker data"
    RESTART_POSTGRES = "restart Postgres"
    DOUBLE_NUDGES = "double nudges"
    LATE_NUDGES = "late nudges"
    WEBHOOKS = "webhooks"
    SECOND_BEAT = "second beat"
    SECOND_FLEET = "second fleet"
    REBOOT = "reboot"
    DISK_FULL = "disk full"
    PAUSE = "pause"
    PANIC = "panic"
    DRAIN = "drain"
    LATE_REQUESTS = "late requests"
    TAKE_LEASE = "take lease"


PROCESSES: Final = (
    "edges.child",
    "agents.child",
    "edges",
    "intake",
    "sweeps",
    "agents",
    "web",
    "beat",
    "flower",
    "valkey",
    "postgres",
    "supervisor",
    "agent",
    "shim",
    "deployer",
)
"""Every kind of process: parents by their service, a pool's child, and what is nobody's child."""

_LASTS: Final[dict[Kind, tuple[float, float]]] = {
    Kind.STOP: (1.0, 6.0),
    Kind.LATE_NUDGES: (1.0, 8.0),
    Kind.SECOND_BEAT: (6.0, 15.0),
    Kind.SECOND_FLEET: (45.0, 80.0),
    Kind.DISK_FULL: (4.0, 9.0),
    Kind.PAUSE: (2.0, 6.0),
    Kind.PANIC: (2.0, 5.0),
    Kind.DRAIN: (3.0, 8.0),
    Kind.LATE_REQUESTS: (6.0, 12.0),
}
"""Seconds; what is not named here is over at once."""

_GAP_S: Final = (3.0, 7.0)
QUIET_S: Final = 6.0
"""Before the first fault: something must flow. The last one falls at least as long before the end."""
CEILING_S: Final = 90.0
"""``ORCH_REAPER_MAX_RUNNING_S`` of the run: what is frozen for longer is ended by tier 3."""
_LONG_MINUTES: Final = 8.0
"""A freeze lasts beyond the ceiling: only a run as long as that has time for it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. ``target``: a kind of process, or empty; ``pick`` chooses among several that fit at that moment."""

    number: int
    at_s: float
    kind: Kind
    target: str = ""
    lasts_s: float = 0.0
    pick: int = 0

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        return f"#{self.number:<3} at {self.at_s:6.1f} s  {self.kind}{f' {self.target}' if self.target else ''}{lasts}"


def plan_faults(seed: int, minutes: float) -> tuple[Fault, ...]:
    """The whole schedule of a run. Each kind comes once before any comes again."""
    chance = random.Random(f"faults {seed}")
    kinds = _endless(chance, long=minutes >= _LONG_MINUTES)
    found: list[Fault] = []
    at_s = QUIET_S
    while at_s <= minutes * 60 - QUIET_S:
        kind, target = next(kinds)
        lasts_s = CEILING_S + 30.0 if kind is Kind.FREEZE else round(chance.uniform(*_LASTS.get(kind, (0.0, 0.0))), 1)
        found.append(Fault(len(found) + 1, round(at_s, 1), kind, target, lasts_s, chance.randrange(1 << 16)))
        at_s += chance.uniform(*_GAP_S)
    return tuple(found)


def _endless(chance: random.Random, *, long: bool) -> Iterator[tuple[Kind, str]]:
    deck = [(kind, target) for kind in (Kind.KILL, Kind.STOP) for target in PROCESSES]
    deck += [(kind, "") for kind in Kind if kind not in (Kind.KILL, Kind.STOP, Kind.FREEZE)]
    if long:
        deck.append((Kind.FREEZE, "edges.child"))
    while True:
        yield from chance.sample(deck, len(deck))


def lines(faults: Sequence[Fault]) -> Iterator[str]:
    """The schedule for people."""
    yield from map(str, faults)
