"""Directories of runs that are long over: they hold the agents' output, and would fill the disk of a node in time.

What a run was (outcome, verdict, cost, head) is in the database and stays.
"""

from __future__ import annotations

import logging

from orchestrator.engine.context import Engine
from orchestrator.store import jobs

_log = logging.getLogger(__name__)


def forget_old_runs(engine: Engine) -> int:
    """Remove the directories of this node's runs whose work item ended and whose job did so more than ``runs_keep_s``
    ago; how many. A live item keeps all of its runs: a later one may go on with their session."""
    keep_s = engine.timings.runs_keep_s
    old = {run_dir.name: run_dir for run_dir in engine.agents.acknowledged(keep_s)}
    if not old:
        return 0
    with engine.store.snapshot() as connection:
        over = jobs.over_since(connection, tuple(old), keep_s)
    for run_id in over:
        engine.agents.forget(old[run_id])
    if over:
        _log.info("removed the output of %s runs that were over for %.0f days", len(over), keep_s / 86400)
    return len(over)
