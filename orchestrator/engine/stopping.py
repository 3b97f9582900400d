"""Ends agents on the node that has them, for a STOP: decided under the lease here, or asked for from another node."""

from __future__ import annotations

import logging

from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.ownership import is_alive
from orchestrator.domain.stages import Actor
from orchestrator.domain.views import JobStatus
from orchestrator.engine.context import Engine
from orchestrator.store import events, jobs

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
        events.record(connection, job.task_id, "stop.killed", {"job": job.id, "proof": proof})
    engine.nudges.drive(job.task_id, job.work_item, Actor.MONITOR)


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
