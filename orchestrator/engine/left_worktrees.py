"""Worktrees of this node on which nobody works any more. The effect that removes a task's worktree runs on one node;
its agents may have worked on several."""

from __future__ import annotations

import logging
from functools import partial

from orchestrator.domain.errors import OrchestratorError
from orchestrator.engine.context import Engine
from orchestrator.ports import ProjectPorts
from orchestrator.store import tasks

_log = logging.getLogger(__name__)


def remove_left_worktrees(engine: Engine) -> int:
    """Remove from this node the worktrees of branches on which no live task works; how many. One that a task takes up
    meanwhile stays. A project that cannot be looked at leaves the others alone."""
    removed = 0
    for key in engine.project_keys():
        try:
            removed += _of_project(engine, engine.project(key), key)
        except OrchestratorError as error:
            _log.warning("worktrees of %s could not be looked at: %s", key, error)
    return removed


def _of_project(engine: Engine, ports: ProjectPorts, project: str) -> int:
    there = ports.workspaces.worktrees()
    if not there:
        return 0
    left = sorted(set(there) - _in_use(engine, project, *there))
    gone = [one for one in left if ports.workspaces.remove_if(one, partial(_is_unused, engine, project, one))]
    if gone:
        _log.info("removed worktrees that no live task works on: %s", ", ".join(gone))
    return len(gone)


def _is_unused(engine: Engine, project: str, branch: str) -> bool:
    return not _in_use(engine, project, branch)


def _in_use(engine: Engine, project: str, *branches: str) -> frozenset[str]:
    with engine.store.snapshot() as connection:
        return tasks.branches_in_use(connection, project, branches)
