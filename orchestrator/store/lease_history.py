"""Leases that ended, as the trigger wrote them down: who held, from when to when, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from orchestrator.domain.ownership import ChildGroup, Owner, Probe


@dataclass(frozen=True, slots=True)
class Overtaken:
    """A lease that did not end by its owner's own release. ``how``: taken | forced; ``event``: the history row."""

    event: int
    task_id: int
    work_item: str
    edge: str
    epoch: int
    how: str
    owner: Owner
    child: ChildGroup | None


def overtaken_on(connection: Connection, here: Probe) -> list[Overtaken]:
    """Every lease of this node and boot that others took over or took away, oldest first. Its owner may still live:
    the node was declared lost, or it could not be killed."""
    rows = connection.execute(
        text(
            """SELECT id, task_id, work_item, epoch, detail FROM events
            WHERE kind = 'lease.ended' AND detail->>'how' IN ('taken', 'forced')
              AND detail->'owner'->>'node' = :node AND detail->'owner'->>'boot_id' = :boot ORDER BY id"""
        ),
        {"node": here.node, "boot": here.boot_id},
    )
    return [
        Overtaken(
            event=row.id,
            task_id=row.task_id,
            work_item=row.work_item,
            edge=row.detail["edge"],
            epoch=row.epoch,
            how=row.detail["how"],
            owner=Owner(**row.detail["owner"]),
            child=ChildGroup(**row.detail["child"]) if "child" in row.detail else None,
        )
        for row in rows
    ]
