"""History. Status changes are written by triggers; this writes what no status column shows."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import Connection, text


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
