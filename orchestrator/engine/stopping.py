"""Ends agents on the node that has them, for a STOP: decided under the lease here, or asked for from another node."""

from __future__ import annotations

import logging

from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.ownership import is_alive
from orchestrator.domain.stages import Actor
from orchestrator.domain.views import JobStatus
from orchestrator.engine import late_verdicts
from orchestrator.engine.context import Engine
from orchestrator.store import events, jobs, tasks
from orchestrator.store.jobs import Job

_log = logging.getLogger(__name__)


class StopDeferred(OrchestratorError):  # noqa: N818  # no fault: the STOP waits, and says for what
    """The STOP cannot go on yet; the message says what it waits for."""


def stop_agent(engine: Engine, job_id: int) -> None:
    """End the job's newest run on this node if a STOP stands, record the proof, and nudge. Repeating it is harmless.

    While its launcher is about to start it nothing is recorded: the launcher nudges when the agent runs.
    """
    with engine.store.transaction() as connection:
        job = jobs.get(connection, job_id)
        run = jobs.newest_run(connection, job_id)
    if job is None or run is None or job.status is not JobStatus.RUNNING or not job.stop_requested:
        return
    try:
        proof = end_run(engine, job_id)
    except StopDeferred as deferred:
        _log.info("%s: STOP waits: %s", job.work_item, deferred.message)
        return
    with engine.store.transaction(Actor.MONITOR) as connection:
        jobs.record_exit(connection, run.run_id, exit_code=None, signal=None, reason="stopped", last_turn=True)
    record_end(engine, job, proof, Actor.MONITOR)
    late_verdicts.note(engine, job_id)
    engine.nudges.drive(job.task_id, job.work_item, Actor.MONITOR)


def record_end(engine: Engine, job: Job, proof: list[str], actor: str) -> None:
    """The proof becomes history, once, however often a STOP is gone on with."""
    with engine.store.transaction(actor) as connection:
        if not events.has(connection, job.task_id, "stop.killed", {"job": job.id}):
            events.record(connection, job.task_id, "stop.killed", {"job": job.id, "proof": proof})


def record_refusal(engine: Engine, task_id: int, actor: str, what: str, why: str) -> None:
    """After a STOP: what somebody still wanted to do, and was refused. Of other tasks nothing is recorded: to lose a
    race is nothing worth telling there."""
    with engine.store.transaction(actor) as connection:
        task = tasks.get(connection, task_id)
        if task is not None and tasks.stop_was_requested(connection, task_id):
            events.record(connection, task_id, "stop.refused", {"what": what, "why": why})


def end_run(engine: Engine, job_id: int) -> list[str]:
    """Stop the newest run of a job on this node; a line for each process seen dead.

    Raises StopDeferred while its launcher is between the claim and the start: it is alive and will be seen.
    """
    with engine.store.transaction() as connection:
        run = jobs.newest_run(connection, job_id)
    if run is None:
        return []
    run_dir = engine.runs_dir / run.run_id
    launcher_lives = run.launcher is not None and is_alive(run.launcher, engine.host)
    if run.exited_at is None and run.owner is None and engine.agents.owner(run_dir) is None and launcher_lives:
        raise StopDeferred("its agent is being started at this moment")
    if not run_dir.exists():
        return ["no process was ever started"]
    return list(engine.agents.stop(run_dir, engine.timings.stop_grace_s))
