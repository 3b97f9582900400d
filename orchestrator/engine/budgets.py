"""Ends runs in progress that reach a budget: each node looks at the streams of its own runs."""

from __future__ import annotations

import logging

from orchestrator.domain import budgets
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.views import JobStatus
from orchestrator.engine.context import Engine
from orchestrator.store import jobs, spending
from orchestrator.store.jobs import AgentRun, Job

_log = logging.getLogger(__name__)


def end_runs_over_budget(engine: Engine) -> list[str]:
    """One pass over this node's live runs; a line for each that was ended. One that cannot be read is left alone."""
    with engine.store.transaction() as connection:
        running = [job for job in jobs.live(connection) if job.status is JobStatus.RUNNING and job.exited_at is None]
        runs = [(job, jobs.newest_run(connection, job.id)) for job in running if job.node == engine.host.node]
    return [line for job, run in runs if run is not None and (line := _look(engine, job, run))]


def _look(engine: Engine, job: Job, run: AgentRun) -> str:
    try:
        figure = _figure(engine, job, run)
        if not figure:
            return ""
        engine.agents.stop(engine.runs_dir / run.run_id, engine.timings.stop_grace_s, over_budget=figure)
    except OrchestratorError as error:
        _log.warning("%s: whether its run is within its budget is not known: %s", job.work_item, error)
        return ""
    _log.warning("%s: its run was ended: %s", job.work_item, figure)
    return f"{job.work_item}: {figure}"


def _figure(engine: Engine, job: Job, run: AgentRun) -> str:
    usage = engine.agents.so_far(engine.runs_dir / run.run_id, run.runtime).usage
    with engine.store.transaction() as connection:
        spent = spending.of_task(connection, job.task_id, job.project)
    limits = engine.project(job.project).config.limits
    return budgets.reached_by_run(usage, spent, limits, job.project)
