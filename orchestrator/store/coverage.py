"""Coverage baselines: the line rate that a base branch has reached."""

from __future__ import annotations

from sqlalchemy import Connection, text


def baseline(connection: Connection, project: str, base_branch: str) -> float | None:
    """The line rate (a share, 0 to 1) that a merge must reach; None before the first one was recorded."""
    found = connection.execute(
        text("SELECT line_rate FROM coverage_baselines WHERE project = :p AND base_branch = :b"),
        {"p": project, "b": base_branch},
    ).scalar_one_or_none()
    return None if found is None else float(found)
