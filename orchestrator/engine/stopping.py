"""Ends an agent on the node that has it, for a STOP that was decided elsewhere."""

from __future__ import annotations

from orchestrator.domain.stages import Actor
from orchestrator.domain.views import JobStatus
from orchestrator.engine.context import Engine
from orchestrator.store import events, jobs


def stop_agent(engine: Engine, job_id: int) -> None:
    """End the job's newest run on this node if a STOP stands, record the proof, and nudge. Repeating it is harmless."""
    with engine.store.transaction() as connection:
        job = jobs.get(connection, job_id)
        run = jobs.newest_run(connection, job_id)
    if job is None or run is None or job.status is not JobStatus.RUNNING or not job.stop_requested:
        return
    run_dir = engine.runs_dir / run.run_id
    proof = list(engine.agents.stop(run_dir, engine.timings.stop_grace_s)) if run_dir.exists() else []
    with engine.store.transaction(Actor.MONITOR) as connection:
        jobs.record_exit(connection, run.run_id, exit_code=None, signal=None, reason="stopped", last_turn=True)
        events.record(connection, job.task_id, "stop.killed", {"job": job.id, "proof": proof})
    engine.nudges.drive(job.task_id, job.work_item, Actor.MONITOR)
