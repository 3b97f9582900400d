"""Machines: who is seen, which boot they run, and which were declared lost.

A node says «I am here» by a row; another node may declare it lost only by one conditional update, and a node that
finds itself declared lost fences itself before it registers again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from orchestrator.domain.ownership import Committed, LostRace, Owner, Probe, ProcessState


@dataclass(frozen=True, slots=True)
class Node:
    node: str
    boot_id: str
    pid_ns: int
    incarnation: int
    draining: bool
    last_seen_at: datetime
    lost_at: datetime | None


@dataclass(frozen=True, slots=True)
class NameTaken:
    """Another machine with the same node name was seen a moment ago: starting would make each call the other dead."""

    boot_id: str
    last_seen_at: datetime


_COLUMNS = "node, boot_id, pid_ns, incarnation, draining, last_seen_at, lost_at"


def register(connection: Connection, probe: Probe, *, fresh_s: float) -> Node | NameTaken:
    """Register this machine, or say that its name is in use.

    A row with another boot id that was seen less than ``fresh_s`` seconds ago belongs to another machine, unless
    its pid namespace shows that it is this one after a reboot: that cannot be told apart, so wait it out.
    """
    row = connection.execute(
        text(
            f"""SELECT {_COLUMNS}, last_seen_at > now() - make_interval(secs => :s) AS fresh
            FROM nodes WHERE node = :n FOR UPDATE"""
        ),
        {"n": probe.node, "s": fresh_s},
    ).one_or_none()
    if row is not None and row.boot_id != probe.boot_id and row.fresh and row.lost_at is None:
        return NameTaken(row.boot_id, row.last_seen_at)
    again = row is not None and (row.lost_at is not None or row.boot_id != probe.boot_id)
    found = connection.execute(
        text(
            f"""INSERT INTO nodes (node, boot_id, pid_ns) VALUES (:n, :b, :p)
            ON CONFLICT (node) DO UPDATE SET boot_id = :b, pid_ns = :p, last_seen_at = clock_timestamp(),
              lost_at = NULL, incarnation = nodes.incarnation + :again, registered_at = clock_timestamp()
            RETURNING {_COLUMNS}"""
        ),
        {"n": probe.node, "b": probe.boot_id, "p": probe.pid_ns, "again": int(again)},
    ).one()
    return Node(**found._mapping)


def seen(connection: Connection, probe: Probe) -> Committed | LostRace:
    """This machine is here. Lost race: it was declared lost meanwhile (fence first), or another boot took the row."""
    done = connection.execute(
        text("UPDATE nodes SET last_seen_at = clock_timestamp() WHERE node = :n AND boot_id = :b AND lost_at IS NULL"),
        {"n": probe.node, "b": probe.boot_id},
    )
    return Committed() if done.rowcount else LostRace("this node was declared lost")


def declare_lost(connection: Connection, silent_s: float) -> list[str]:
    """Declare lost every node silent for ``silent_s`` seconds by the database's clock; their names."""
    rows = connection.execute(
        text(
            """UPDATE nodes SET lost_at = clock_timestamp()
            WHERE lost_at IS NULL AND last_seen_at < now() - make_interval(secs => :s) RETURNING node"""
        ),
        {"s": silent_s},
    )
    return [str(row.node) for row in rows]


def is_lost(connection: Connection, owner: Owner) -> bool:
    """Whether the owner's node can no longer hold anything: declared lost, or booted again."""
    row = connection.execute(
        text("SELECT boot_id, pid_ns, lost_at, registered_at FROM nodes WHERE node = :n"), {"n": owner.node}
    ).one_or_none()
    return row is not None and (row.lost_at is not None or row.boot_id != owner.boot_id)


def set_draining(connection: Connection, node: str, draining: bool) -> Committed | LostRace:
    """Take nothing new on ``node``, or again."""
    done = connection.execute(text("UPDATE nodes SET draining = :d WHERE node = :n"), {"n": node, "d": draining})
    return Committed() if done.rowcount else LostRace("no such node")


def choose(connection: Connection, task_id: int, *, here: str) -> str | None:
    """Where the task's next agent is to start: the node that has its worktree, else this one, else the one that
    reported last. None when every node takes nothing new."""
    found = connection.execute(
        text(
            """SELECT n.node FROM nodes n JOIN tasks t ON t.id = :t WHERE n.lost_at IS NULL AND NOT n.draining
            ORDER BY n.node = t.worktree_node DESC NULLS LAST, n.node = :here DESC, n.last_seen_at DESC LIMIT 1"""
        ),
        {"t": task_id, "here": here},
    ).scalar_one_or_none()
    if found is not None:
        return str(found)
    # A node that has no row yet, or none that counts, was not drained by anybody.
    return None if all_drain(connection) else here


def all_drain(connection: Connection) -> bool:
    """Whether there are nodes and all of them take nothing new; those that were declared lost do not count."""
    found = connection.execute(text("SELECT bool_and(draining) FROM nodes WHERE lost_at IS NULL")).scalar_one()
    return bool(found)


def database_time(connection: Connection) -> datetime:
    """The database's time: what all nodes compare by."""
    found: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return found


def all_nodes(connection: Connection) -> list[Node]:
    rows = connection.execute(text(f"SELECT {_COLUMNS} FROM nodes ORDER BY node"))
    return [Node(**row._mapping) for row in rows]


@dataclass(frozen=True, slots=True)
class ProbeInTransaction:
    """A probe whose answer about other nodes comes from the transaction that is about to act on it."""

    connection: Connection
    host: Probe

    @property
    def node(self) -> str:
        return self.host.node

    @property
    def boot_id(self) -> str:
        return self.host.boot_id

    @property
    def pid_ns(self) -> int:
        return self.host.pid_ns

    def process(self, pid: int) -> ProcessState | None:
        return self.host.process(pid)

    def node_is_lost(self, owner: Owner) -> bool:
        return is_lost(self.connection, owner)
