"""The region: what one owner may do to one task between taking the lease and giving it back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from orchestrator.domain.configuration import RepositoryConfig
from orchestrator.domain.errors import LostRaceError, TransientError
from orchestrator.domain.ownership import Busy, ChildGroup, Committed, HeldLease, Owner
from orchestrator.domain.stages import Actor
from orchestrator.domain.views import TaskView
from orchestrator.engine.context import Engine
from orchestrator.failpoints import hit
from orchestrator.ports import ChildRunner, ProjectPorts
from orchestrator.store import counters, jobs, leases
from orchestrator.store.database import Connection

_log = logging.getLogger(__name__)
_ORPHAN_S = 10.0
_inside: Final[dict[tuple[Owner, int], object]] = {}
"""What threads of this process are inside now; a forked child finds entries of its parent and none of its own."""


@dataclass(frozen=True, slots=True)
class Region:
    """One held lease and the parts that its owner works with. ``children`` write their group to the lease."""

    engine: Engine
    held: HeldLease
    ports: ProjectPorts
    children: ChildRunner

    def view(self) -> TaskView:
        """The snapshot as it is now. Raises LostRaceError when the lease was taken away meanwhile."""
        found = self.engine.view(self.held.task_id, self.ports.config)
        if found is None or (self.held.enforced and found.lease_epoch != self.held.epoch):
            raise LostRaceError("the lease was taken away")
        return found

    def base(self) -> tuple[str, RepositoryConfig]:
        """The base branch's tip now, and the repository's configuration as it stands there."""
        self.ports.workspaces.fetch()
        tip = self.ports.workspaces.base_tip()
        return tip, self.ports.repository.at(tip)


@contextmanager
def enter(
    engine: Engine, ports: ProjectPorts, view: TaskView, *, edge: str, actor: Actor, closing: bool = False
) -> Iterator[Region | Busy]:
    """Take the task's transition, or say who is inside; gives it back at exit unless a commit did already.

    ``closing``: STOP itself, the only one that may enter while a STOP request stands.
    """
    entry = leases.Entry(edge, actor, engine.owner(), closing, engine.lease_is_enforced(view.project))
    hit("lease.wanted")
    with _presence(view.task_id, entry.owner) as alone:
        held = _acquire(engine, view.task_id, entry, alone=alone)
        if isinstance(held, Busy):
            yield held
            return
        hit("lease.acquired")
        try:
            _end_orphan(engine, held)
            yield Region(engine, held, ports, engine.children(lambda group: _announce(engine, held, group)))
        finally:
            _give_back(engine, held)
        hit("lease.released")


@contextmanager
def _presence(task_id: int, owner: Owner) -> Iterator[bool]:
    """Whether no other thread of this process is inside this task's region."""
    key, mine = (owner, task_id), object()
    alone = _inside.setdefault(key, mine) is mine
    try:
        yield alone
    finally:
        if alone:
            del _inside[key]


def _acquire(engine: Engine, task_id: int, entry: leases.Entry, *, alone: bool) -> HeldLease | Busy:
    with engine.store.transaction(entry.actor) as connection:
        held = leases.acquire(connection, task_id, entry, engine.host)
        if isinstance(held, Busy) and held.owner == entry.owner and alone:
            # Nobody of this process is inside: something ended its passage before it could give the lease back.
            leases.force_release(connection, task_id, why="its owner had left without giving it back")
            held = leases.acquire(connection, task_id, entry, engine.host)
        if isinstance(held, Busy):
            counters.add(connection, "lease_deferrals_total", entry.actor)
        elif not held.enforced:
            jobs.set_finalizer(connection, task_id, held.owner)
    return held


def _give_back(engine: Engine, held: HeldLease) -> None:
    """However long the database is away: who lives and holds a lease that he has left keeps all others out."""

    def release(connection: Connection) -> None:
        leases.release(connection, held)
        if not held.enforced:
            jobs.clear_finalizer(connection, held.task_id, held.owner)

    engine.store.insist(release, held.actor, sleep=engine.clock.sleep)


def _announce(engine: Engine, held: HeldLease, group: ChildGroup | None) -> bool:
    if not held.enforced:
        return True
    with engine.store.transaction(held.actor) as connection:
        return isinstance(leases.set_child(connection, held, group), Committed)


def _end_orphan(engine: Engine, held: HeldLease) -> None:
    """End the command that a dead predecessor left running: two re-tests at once would be two owners."""
    orphan = held.orphan
    if orphan is None:
        return
    if not engine.host.kill_group(orphan.pgid, _ORPHAN_S, orphan.start_ticks):
        raise TransientError(f"the command of a dead predecessor (group {orphan.pgid}) does not end")
    _announce(engine, held, None)
    _log.info("ended the command that a dead predecessor left: group %s", orphan.pgid)
