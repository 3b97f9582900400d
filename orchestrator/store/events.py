"""History. Status changes are written by triggers; this writes what no status column shows."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import Connection, text


def record_once(
    connection: Connection, task_id: int, kind: str, name: str, detail: Mapping[str, object], *, actor: str = ""
) -> None:
    """``record``, unless an event of that kind with the same ``detail[name]`` is there. The task's row is locked, so
    of two at once one writes."""
    connection.execute(text("SELECT FROM tasks WHERE id = :id FOR UPDATE"), {"id": task_id})
    found = connection.execute(
        text("SELECT FROM events WHERE task_id = :id AND kind = :kind AND detail->>:name = :value LIMIT 1"),
        {"id": task_id, "kind": kind, "name": name, "value": str(detail[name])},
    )
    if found.first() is None:
        record(connection, task_id, kind, detail, actor=actor)


def record(connection: Connection, task_id: int, kind: str, detail: Mapping[str, object], *, actor: str = "") -> None:
    """Add one event to a task's history. ``actor`` defaults to the actor of the transaction."""
    connection.execute(
        text(
            """INSERT INTO events (task_id, work_item, kind, actor, stage_seq, epoch, detail)
            SELECT id, work_item, :kind, coalesce(nullif(:actor, ''), orch_actor()), stage_seq, lease_epoch,
              CAST(:detail AS jsonb) FROM tasks WHERE id = :id"""
        ),
        {"id": task_id, "kind": kind, "actor": actor, "detail": json.dumps(detail, default=str)},
    )


def has(connection: Connection, task_id: int, kind: str, detail: Mapping[str, object]) -> bool:
    """Whether the task's history has an event of that kind with (at least) that detail since its last STOP request."""
    return bool(
        connection.execute(
            text(
                """SELECT EXISTS (SELECT FROM events WHERE task_id = :id AND kind = :kind
                AND detail @> CAST(:detail AS jsonb) AND id >= coalesce((SELECT max(id) FROM events
                  WHERE task_id = :id AND kind = 'stop.requested'), 0))"""
            ),
            {"id": task_id, "kind": kind, "detail": json.dumps(detail, default=str)},
        ).scalar_one()
    )
