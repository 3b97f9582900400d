"""Deployments for people: newest first. SELECT only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class DeploymentLine:
    """One deployment or roll back, with the work item that asked for it."""

    id: int
    project: str
    environment: str
    kind: str
    status: str
    sha: str
    previous_sha: str | None
    observed_sha: str | None
    work_item: str
    detail: str
    requested_at: datetime
    finished_at: datetime | None


def newest(connection: Connection, project: str | None, limit: int) -> Sequence[DeploymentLine]:
    """The newest ``limit`` deployments, of one project or of all."""
    rows = connection.execute(
        text(
            """SELECT d.id, d.project, d.environment, d.kind, d.status, d.sha, d.previous_sha, d.observed_sha,
              t.work_item, d.detail, d.requested_at, d.finished_at
            FROM deployments d JOIN tasks t ON t.id = d.task_id
            WHERE CAST(:p AS text) IS NULL OR d.project = :p ORDER BY d.id DESC LIMIT :n"""
        ),
        {"p": project, "n": limit},
    )
    return [DeploymentLine(**row._mapping) for row in rows]
