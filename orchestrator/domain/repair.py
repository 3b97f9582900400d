"""What the reaper does with one live job: a value in, a value out. The engine looks, this judges, the engine acts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Tier(IntEnum):
    """How sure the reaper is, and of what."""

    DEAD_PROCESS = 1
    NOT_FINALIZED = 2
    CEILING = 3


@dataclass(frozen=True, slots=True)
class JobSight:
    """One look at a running job. Times in seconds by the database's clock.

    ``process_dead``: the run's identity is proven dead and it left no exit record; None where this node cannot see
    that. ``exit_unrecorded``: an exit record lies on this node that the database does not know.
    ``waits``: it is settled and its task has nothing to do now (a full serial gate, an approval).
    ``finalizer_alive``: a live process holds the task's lease, or (lease off) the job's finalizer marker.
    """

    running_s: float
    exited_s: float | None
    settled: bool
    waits: bool
    process_dead: bool | None
    exit_unrecorded: bool
    dead_ticks: int
    finalizer_alive: bool


@dataclass(frozen=True, slots=True)
class Bounds:
    """The reaper's settings: sweeps in a row, and seconds."""

    dead_ticks: int
    grace_s: float
    ceiling_s: float


@dataclass(frozen=True, slots=True)
class Leave:
    """Nothing to repair. ``dead_seen`` keeps count of sweeps in a row that saw the process dead."""

    dead_seen: bool = False


@dataclass(frozen=True, slots=True)
class NudgeFinish:
    """An exit is known on this node and not in the database: have it finished."""


@dataclass(frozen=True, slots=True)
class Defer:
    """A live finalizer is at work: its grace has passed, but only its death or the ceiling ends it."""


@dataclass(frozen=True, slots=True)
class Reap:
    """Repair by ``tier``, with the evidence that people are shown."""

    tier: Tier
    evidence: str


Repair = Leave | NudgeFinish | Defer | Reap


def repair_of(sight: JobSight, bounds: Bounds) -> Repair:
    """The ceiling first, since it ignores every marker; then what is known of the exit; then the process.

    A settled job has no process and may wait for days: what works on it is bounded by the ceiling of its lease.
    """
    if sight.running_s > bounds.ceiling_s and not sight.settled:
        return Reap(Tier.CEILING, f"it runs for {sight.running_s:.0f} s, at most {bounds.ceiling_s:.0f} s are allowed")
    if sight.exited_s is not None:
        return _of_exited(sight, bounds, sight.exited_s)
    if sight.exit_unrecorded:
        return NudgeFinish()
    if not sight.process_dead:
        return Leave()
    if sight.dead_ticks + 1 < bounds.dead_ticks:
        return Leave(dead_seen=True)
    return Reap(Tier.DEAD_PROCESS, f"its process is dead and left no exit record, seen {sight.dead_ticks + 1} times")


def _of_exited(sight: JobSight, bounds: Bounds, exited_s: float) -> Repair:
    if exited_s <= bounds.grace_s or sight.waits:
        return Leave()
    if sight.finalizer_alive:
        return Defer()
    done = "settled" if sight.settled else "not read yet"
    return Reap(Tier.NOT_FINALIZED, f"its exit is known for {exited_s:.0f} s, {done}, and nobody alive finalizes it")
