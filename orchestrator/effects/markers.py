"""Hidden words in what we write at a tracker or forge: by them a successor recognises it as this task's own."""

from __future__ import annotations

from orchestrator.domain.views import TaskView


def pull_request_marker(view: TaskView) -> str:
    """Stands in the body of the pull request of this task's present branch."""
    return f"<!-- orchestrator:{view.task_id}/{view.generation} -->"


def comment_marker(view: TaskView, occasion: str) -> str:
    """Goes with the one comment of this visit on ``occasion``."""
    return f"orchestrator:{view.task_id}/{view.visit}/{occasion}"
