"""A verdict that came after its run was taken away (STOP, the reaper): written down, so that a person sees what it
said, and followed by nothing. The job is over, or its task stopped; only ``jobs.settle`` makes a verdict a fact, and
it wants a running job."""

from __future__ import annotations

import logging

from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.stages import Actor
from orchestrator.domain.verdicts import Verdict
from orchestrator.domain.views import JobStatus
from orchestrator.engine.context import Engine
from orchestrator.store import events, jobs
from orchestrator.store.jobs import AgentRun, Job

_log = logging.getLogger(__name__)


def note(engine: Engine, job_id: int) -> None:
    """Look whether the job's newest run left a verdict on this node that nothing will follow. Repeating it is
    harmless: a run's verdict is noted once. What is no verdict of that run is not mentioned."""
    with engine.store.transaction() as connection:
        job = jobs.get(connection, job_id)
        run = jobs.newest_run(connection, job_id)
    if job is None or run is None or not _is_late(job) or run.node != engine.host.node:
        return
    try:
        _note(engine, job, run)
    except OrchestratorError as error:
        _log.warning("whether the run of %s left a late verdict is not known: %s", job.work_item, error)


def note_before(engine: Engine, job: Job) -> None:
    """The same for the run before this job's, whose verdict the start of the next one deletes."""
    with engine.store.transaction() as connection:
        before = jobs.run_before(connection, job)
    if before is not None:
        note(engine, before.job_id)


def _is_late(job: Job) -> bool:
    """A job that was settled has its verdict in its row already."""
    return job.settled_at is None and (job.stop_requested or job.status is not JobStatus.RUNNING)


def _note(engine: Engine, job: Job, run: AgentRun) -> None:
    worktree = engine.project(job.project).workspaces.path_of(job.branch)
    found = engine.verdicts.read(worktree, run.run_id) if worktree.exists() else None
    if not isinstance(found, Verdict):
        return
    why = "STOP was requested" if job.stop_requested else f"the job is {job.status}"
    detail = {"job": job.id, "run": run.run_id, "verdict": found.kind, "summary": found.summary, "why": why}
    with engine.store.transaction(Actor.MONITOR) as connection:
        events.record_once(connection, job.task_id, "verdict.ignored", "run", detail)
    _log.info("%s: the verdict %s came too late and is ignored: %s", job.work_item, found.kind, why)
