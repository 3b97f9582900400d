"""Who owns a transition, and whether that process still lives: identity, never age.

An owner is the tuple (node, boot id, pid namespace, pid, start ticks). The check follows section 5 of the
measured Celery facts and section 1 of the ownership design; "cannot tell" counts as alive.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Owner:
    """Identity of one process. ``start_ticks`` is field 22 of /proc/<pid>/stat (clock ticks since boot)."""

    node: str
    boot_id: str
    pid_ns: int
    pid: int
    start_ticks: int

    def __str__(self) -> str:
        return f"{self.node}/{self.pid}@{self.start_ticks}"


class Liveness(StrEnum):
    """What can be said about a process."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One look at /proc/<pid>/stat: the state letter and the start ticks."""

    state: str
    start_ticks: int


class Probe(Protocol):
    """What a node can see of itself and of others. Adapters implement it on /proc; tests by a table."""

    @property
    def node(self) -> str: ...

    @property
    def boot_id(self) -> str: ...

    @property
    def pid_ns(self) -> int: ...

    def process(self, pid: int) -> ProcessState | None:
        """State of that pid now; None when it does not exist.

        Raises PermissionError when this process may not look.
        """

    def node_is_lost(self, owner: Owner) -> bool:
        """True when the owner's node was declared lost, or registered again with another boot id."""


def liveness(owner: Owner, probe: Probe) -> Liveness:
    """Whether ``owner`` lives, as seen from ``probe``'s node."""
    if owner.node != probe.node:
        return Liveness.DEAD if probe.node_is_lost(owner) else Liveness.UNKNOWN
    if owner.boot_id != probe.boot_id:
        return Liveness.DEAD
    if owner.pid_ns != probe.pid_ns:
        return Liveness.DEAD if probe.node_is_lost(owner) else Liveness.UNKNOWN
    return _liveness_here(owner, probe)


def _liveness_here(owner: Owner, probe: Probe) -> Liveness:
    try:
        seen = probe.process(owner.pid)
    except PermissionError:
        return Liveness.UNKNOWN
    if seen is None or seen.start_ticks != owner.start_ticks:
        return Liveness.DEAD
    return Liveness.DEAD if seen.state in ("Z", "X") else Liveness.ALIVE


def is_alive(owner: Owner, probe: Probe) -> bool:
    """False only when the owner is proven dead. Stopped and uninterruptible processes are alive."""
    return liveness(owner, probe) is not Liveness.DEAD


@dataclass(frozen=True, slots=True)
class ChildGroup:
    """A process group that an owner started for a gate or an effect; its leader has these start ticks."""

    pgid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease row of one task, as read: it tells who holds the task's transition, or that nobody does."""

    task_id: int
    edge: str
    actor: str
    epoch: int
    owner: Owner | None
    child: ChildGroup | None
    acquired_at: datetime
    released_at: datetime | None

    @property
    def is_held(self) -> bool:
        return self.released_at is None and self.owner is not None


@dataclass(frozen=True, slots=True)
class HeldLease:
    """Proof that this process owns the transition of a task. Only ``store.leases`` makes one.

    ``epoch`` is the fencing number that every guarded write repeats. ``enforced`` is False only while the lease
    is switched off or the project is out of its scope: then nothing was acquired and no epoch is compared.
    ``orphan`` is a process group that a dead predecessor left running: end it before anything else.
    """

    task_id: int
    epoch: int
    owner: Owner
    actor: str
    enforced: bool = True
    orphan: ChildGroup | None = None


@dataclass(frozen=True, slots=True)
class HeldMergeLane:
    """Proof that this process owns the merge lane of a base branch. Only ``store.leases`` makes one.

    ``enforced`` is False only under a transition lease that is switched off: it is the same mechanism, and whoever
    turns off a lease that is stuck must not be stuck in the lane instead.
    """

    project: str
    base_branch: str
    epoch: int
    owner: Owner
    task_id: int
    enforced: bool = True


@dataclass(frozen=True, slots=True)
class Busy:
    """Acquisition refused: a live owner is inside, or entry is closed (``why``)."""

    owner: Owner | None
    age_s: float
    why: str


@dataclass(frozen=True, slots=True)
class Committed:
    """A guarded write matched its row and is durable."""


@dataclass(frozen=True, slots=True)
class LostRace:
    """A guarded write matched no row: somebody else was first. Nothing was written; ``why`` names the guard."""

    why: str
