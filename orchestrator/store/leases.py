"""Leases: exclusive ownership of a task's transition and of a base branch's merge lane.

The only maker of ``HeldLease`` and ``HeldMergeLane``. There is no time to live and no heartbeat: a lease ends by
release, by force, or because its owner is proven dead by identity. Every function begins by locking the task's
row, the one row that guards the task; a join to the lease table instead would not be safe under READ COMMITTED.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, text

from orchestrator.domain.ownership import (
    Busy,
    ChildGroup,
    Committed,
    HeldLease,
    HeldMergeLane,
    Lease,
    LostRace,
    Owner,
    Probe,
    is_alive,
)
from orchestrator.store.nodes import ProbeInTransaction
from orchestrator.store.owners import owner_values, read_owner

_LEASE = """task_id, edge, actor, epoch, owner_node, owner_boot_id, owner_pid_ns, owner_pid, owner_start_ticks,
 child_pgid, child_start_ticks, acquired_at, released_at"""


@dataclass(frozen=True, slots=True)
class Entry:
    """Who wants to enter. ``closing``: only STOP itself may enter while a stop request stands.

    ``enforced`` is False when the lease is switched off for this project: entry is then always granted.
    """

    edge: str
    actor: str
    owner: Owner
    closing: bool = False
    enforced: bool = True


def acquire(connection: Connection, task_id: int, entry: Entry, probe: Probe) -> HeldLease | Busy:
    """Take the transition of a task if it is free, released, or its owner is proven dead.

    Raises the epoch in the task's own row, so that every write of a predecessor fails from here on.
    """
    task = lock_task(connection, task_id)
    if not entry.enforced:
        return HeldLease(task_id, task.lease_epoch, entry.owner, entry.actor, enforced=False)
    if task.stop_requested_at is not None and not entry.closing:
        return Busy(None, 0.0, "a STOP request stands")
    found = _find(connection, task_id)
    owner = found.owner if found is not None and found.is_held else None
    if found is not None and owner is not None and is_alive(owner, ProbeInTransaction(connection, probe)):
        return Busy(owner, age_s(connection, task_id), f"{found.actor} is inside {found.edge}")
    epoch = task.lease_epoch + 1
    connection.execute(text("UPDATE tasks SET lease_epoch = :e WHERE id = :id"), {"e": epoch, "id": task_id})
    _write(connection, task_id, entry, epoch)
    return HeldLease(task_id, epoch, entry.owner, entry.actor, orphan=_orphan(found, entry.owner))


def lock_task(connection: Connection, task_id: int) -> Row[tuple[object, ...]]:
    """Lock the one row that guards the task and read its fences. Raises NoResultFound for an unknown id."""
    return connection.execute(
        text(
            """SELECT id, work_item, project, stage, stage_seq, lease_epoch, round, stop_requested_at,
              extract(epoch FROM clock_timestamp() - stage_entered_at)::float AS stage_s
            FROM tasks WHERE id = :id FOR UPDATE"""
        ),
        {"id": task_id},
    ).one()


def lock_if_epoch_holds(connection: Connection, held: HeldLease) -> Row[tuple[object, ...]] | None:
    """Lock the task's row; None when the epoch is no longer ours (the lease was taken away)."""
    task = lock_task(connection, held.task_id)
    mark_unenforced(connection, held)
    return task if not held.enforced or task.lease_epoch == held.epoch else None


def mark_unenforced(connection: Connection, held: HeldLease) -> None:
    """Let history say that what this transaction writes was not guarded by a lease (see ``store.triggers``)."""
    if not held.enforced:
        connection.execute(text("SELECT set_config('orch.lease', 'off', true)"))


def _write(connection: Connection, task_id: int, entry: Entry, epoch: int) -> None:
    # child_pgid stays as the predecessor left it until the group is seen dead: our own death must not forget it.
    connection.execute(
        text(
            """INSERT INTO transition_lease (task_id, edge, actor, epoch, owner_node, owner_boot_id, owner_pid_ns,
              owner_pid, owner_start_ticks, acquired_at, released_at)
            VALUES (:task_id, :edge, :actor, :epoch, :owner_node, :owner_boot_id, :owner_pid_ns, :owner_pid,
              :owner_start_ticks, clock_timestamp(), NULL)
            ON CONFLICT (task_id) DO UPDATE SET edge = excluded.edge, actor = excluded.actor,
              epoch = excluded.epoch, owner_node = excluded.owner_node, owner_boot_id = excluded.owner_boot_id,
              owner_pid_ns = excluded.owner_pid_ns, owner_pid = excluded.owner_pid,
              owner_start_ticks = excluded.owner_start_ticks, acquired_at = excluded.acquired_at,
              released_at = NULL"""
        ),
        {
            "task_id": task_id,
            "edge": entry.edge,
            "actor": entry.actor,
            "epoch": epoch,
            **owner_values(entry.owner),
        },
    )


def _orphan(found: Lease | None, successor: Owner) -> ChildGroup | None:
    """A group of this boot that nobody waits for any more; after a reboot there is nothing left to end."""
    if found is None or found.child is None or found.owner is None:
        return None
    same_machine = found.owner.node == successor.node and found.owner.boot_id == successor.boot_id
    return found.child if same_machine else None


def _find(connection: Connection, task_id: int) -> Lease | None:
    row = connection.execute(
        text(f"SELECT {_LEASE} FROM transition_lease WHERE task_id = :id FOR UPDATE"), {"id": task_id}
    ).one_or_none()
    return None if row is None else _lease(row)


def _lease(row: Row[tuple[object, ...]]) -> Lease:
    child = None if row.child_pgid is None else ChildGroup(row.child_pgid, row.child_start_ticks)
    return Lease(
        task_id=row.task_id,
        edge=row.edge,
        actor=row.actor,
        epoch=row.epoch,
        owner=read_owner(row),
        child=child,
        acquired_at=row.acquired_at,
        released_at=row.released_at,
    )


def age_s(connection: Connection, task_id: int) -> float:
    """Seconds since the task's lease was last acquired, by the database's clock."""
    return float(
        connection.execute(
            text(
                "SELECT extract(epoch FROM clock_timestamp() - acquired_at) FROM transition_lease WHERE task_id = :id"
            ),
            {"id": task_id},
        ).scalar_one()
    )


def set_child(connection: Connection, held: HeldLease, child: ChildGroup | None) -> Committed | LostRace:
    """Name the process group that is about to work under this lease (None: it was seen dead).

    Lost race: the lease was taken away; the group must not start.
    """
    if lock_if_epoch_holds(connection, held) is None:
        return LostRace("the epoch moved on")
    connection.execute(
        text("UPDATE transition_lease SET child_pgid = :g, child_start_ticks = :t WHERE task_id = :id"),
        {"id": held.task_id, "g": child.pgid if child else None, "t": child.start_ticks if child else None},
    )
    return Committed()


def holds(connection: Connection, held: HeldLease) -> bool:
    """Whether the epoch is still ours: to be asked after every wait and before every repetition."""
    return lock_if_epoch_holds(connection, held) is not None


def release(connection: Connection, held: HeldLease) -> Committed | LostRace:
    """Give the transition back. Lost race: it had been taken away already, and stays as its new owner made it."""
    if not held.enforced:
        return Committed()
    done = connection.execute(
        text(
            """UPDATE transition_lease SET released_at = clock_timestamp(), child_pgid = NULL, child_start_ticks = NULL
            WHERE task_id = :id AND epoch = :e AND released_at IS NULL"""
        ),
        {"id": held.task_id, "e": held.epoch},
    )
    return Committed() if done.rowcount else LostRace("the lease was taken away")


def force_release(connection: Connection, task_id: int, *, why: str, epoch: int | None = None) -> Committed | LostRace:
    """Take the lease away and raise the epoch, so that whatever its owner still writes is refused.

    ``epoch`` names the lease that was looked at; lost race: it is no longer that one, or no lease is held.
    """
    task = lock_task(connection, task_id)
    done = connection.execute(
        text(
            """UPDATE transition_lease SET released_at = clock_timestamp(), epoch = :new
            WHERE task_id = :id AND released_at IS NULL AND (CAST(:e AS bigint) IS NULL OR epoch = :e)"""
        ),
        {"id": task_id, "e": epoch, "new": task.lease_epoch + 1},
    )
    if not done.rowcount:
        return LostRace("no such lease is held")
    connection.execute(text("UPDATE tasks SET lease_epoch = lease_epoch + 1 WHERE id = :id"), {"id": task_id})
    connection.execute(
        text(
            """INSERT INTO events (task_id, work_item, kind, actor, stage_seq, epoch, detail)
            VALUES (:id, :item, 'lease.forced', orch_actor(), :seq, :epoch,
              jsonb_build_object('why', CAST(:why AS text)))"""
        ),
        {"id": task_id, "item": task.work_item, "seq": task.stage_seq, "epoch": task.lease_epoch + 1, "why": why},
    )
    return Committed()


def held_leases(connection: Connection) -> Sequence[Lease]:
    """Every lease that is held now, oldest first."""
    rows = connection.execute(
        text(f"SELECT {_LEASE} FROM transition_lease WHERE released_at IS NULL ORDER BY acquired_at")
    )
    return [_lease(row) for row in rows]


def lease_of(connection: Connection, task_id: int) -> Lease | None:
    """The lease row of a task, held or not, without locking it."""
    row = connection.execute(
        text(f"SELECT {_LEASE} FROM transition_lease WHERE task_id = :id"), {"id": task_id}
    ).one_or_none()
    return None if row is None else _lease(row)


def recover_on_startup(connection: Connection, probe: Probe) -> list[int]:
    """Free every lease whose owner is proven dead, so that a reboot frees everything at once; the task ids."""
    return [lease.task_id for lease in held_leases(connection) if _freed(connection, lease, probe)]


def _freed(connection: Connection, lease: Lease, probe: Probe) -> bool:
    if lease.owner is None or is_alive(lease.owner, ProbeInTransaction(connection, probe)):
        return False
    why = f"owner {lease.owner} is dead"
    return isinstance(force_release(connection, lease.task_id, why=why, epoch=lease.epoch), Committed)


def acquire_merge_lane(
    connection: Connection, held: HeldLease, project: str, base_branch: str, probe: Probe, *, reclaim: bool
) -> HeldMergeLane | Busy:
    """Take the merge lane of a base branch under a transition lease. The lane of one who is dead, or whose lease has
    ended, is taken over by a database write alone, only when ``reclaim`` is on."""
    if lock_if_epoch_holds(connection, held) is None:
        return Busy(None, 0.0, "the transition lease was taken away")
    if not held.enforced:
        return HeldMergeLane(project, base_branch, 0, held.owner, held.task_id, enforced=False)
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:lane, 0))"), {"lane": f"lane:{project}/{base_branch}"}
    )
    row = connection.execute(
        text(
            """SELECT *, extract(epoch FROM clock_timestamp() - acquired_at) AS age FROM merge_lease
            WHERE project = :p AND base_branch = :b FOR UPDATE"""
        ),
        {"p": project, "b": base_branch},
    ).one_or_none()
    if row is not None and row.released_at is None and (not reclaim or _lane_is_used(connection, row, probe)):
        return Busy(read_owner(row), float(row.age), f"the merge lane serves task {row.task_id}")
    epoch = 1 if row is None else row.epoch + 1
    connection.execute(
        text(
            """INSERT INTO merge_lease (project, base_branch, epoch, task_id, lease_epoch, owner_node, owner_boot_id,
              owner_pid_ns, owner_pid, owner_start_ticks, acquired_at, released_at)
            VALUES (:p, :b, :e, :t, :l, :owner_node, :owner_boot_id, :owner_pid_ns, :owner_pid, :owner_start_ticks,
              clock_timestamp(), NULL)
            ON CONFLICT (project, base_branch) DO UPDATE SET epoch = :e, task_id = :t, lease_epoch = :l,
              owner_node = :owner_node, owner_boot_id = :owner_boot_id, owner_pid_ns = :owner_pid_ns,
              owner_pid = :owner_pid, owner_start_ticks = :owner_start_ticks,
              acquired_at = clock_timestamp(), released_at = NULL"""
        ),
        {"p": project, "b": base_branch, "e": epoch, "t": held.task_id, "l": held.epoch, **owner_values(held.owner)},
    )
    return HeldMergeLane(project, base_branch, epoch, held.owner, held.task_id)


def _lane_is_used(connection: Connection, row: Row[tuple[object, ...]], probe: Probe) -> bool:
    """Whether its owner may live and still has the transition lease under which he took the lane. A lease may end
    without its lane: its owner may not reach the database, or be a zombie that Tier 3 could not kill. Such a zombie
    can merge nothing that was not tested on the base as it is: that is up to the expected heads, not to the lane."""
    owner = read_owner(row)
    if owner is not None and not is_alive(owner, ProbeInTransaction(connection, probe)):
        return False
    lease = lease_of(connection, row.task_id)
    return lease is not None and lease.is_held and lease.epoch == row.lease_epoch


def release_merge_lane(connection: Connection, lane: HeldMergeLane) -> Committed | LostRace:
    """Give the lane back. Lost race: it was reclaimed, and stays as its new owner made it."""
    if not lane.enforced:
        return Committed()
    done = connection.execute(
        text(
            """UPDATE merge_lease SET released_at = clock_timestamp()
            WHERE project = :p AND base_branch = :b AND epoch = :e AND released_at IS NULL"""
        ),
        {"p": lane.project, "b": lane.base_branch, "e": lane.epoch},
    )
    return Committed() if done.rowcount else LostRace("the merge lane was taken away")


def holds_merge_lane(connection: Connection, lane: HeldMergeLane) -> bool:
    """Whether the lane is still ours."""
    if not lane.enforced:
        return True
    found = connection.execute(
        text(
            """SELECT 1 FROM merge_lease
            WHERE project = :p AND base_branch = :b AND epoch = :e AND released_at IS NULL FOR UPDATE"""
        ),
        {"p": lane.project, "b": lane.base_branch, "e": lane.epoch},
    ).scalar_one_or_none()
    return found is not None


def free_unused_lanes(connection: Connection, probe: Probe) -> list[str]:
    """Release every merge lane whose owner is proven dead or has lost his lease; their names. No git is touched."""
    rows = connection.execute(text("SELECT * FROM merge_lease WHERE released_at IS NULL FOR UPDATE SKIP LOCKED"))
    freed = []
    for row in rows.all():
        if _lane_is_used(connection, row, probe):
            continue
        connection.execute(
            text(
                """UPDATE merge_lease SET released_at = clock_timestamp(), epoch = epoch + 1
                WHERE project = :p AND base_branch = :b AND epoch = :e AND released_at IS NULL"""
            ),
            {"p": row.project, "b": row.base_branch, "e": row.epoch},
        )
        freed.append(f"{row.project}/{row.base_branch}")
    return freed
