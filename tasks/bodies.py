"""The Celery tasks. Each takes ids and makes one call; ``work_item`` is there so that Flower can be searched by it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator import logs, messages
from orchestrator.domain.stages import Actor
from orchestrator.engine import agents, deliveries, finishing, reaper, reconciler, spool, stopping
from orchestrator.engine import drive as driving
from orchestrator.engine import finalizer as deploys
from orchestrator.engine.context import Engine
from tasks import app
from tasks.base import engine, settings, sweep


@app.task(name=messages.DRIVE)
def drive(task_id: int, work_item: str, actor: str) -> None:
    """Look at a task and move it as far as it goes now."""
    with logs.about(work_item=work_item, task_id=task_id, actor=actor):
        driving.drive(engine(), task_id, Actor(actor))


@app.task(name=messages.LAUNCH_AGENT)
def launch_agent(job_id: int, work_item: str) -> None:
    """Start the agent of a queued job on this node, and return."""
    with logs.about(work_item=work_item):
        agents.launch_agent(engine(), job_id)


@app.task(name=messages.STOP_AGENT)
def stop_agent(job_id: int, work_item: str) -> None:
    """End the agent of a job on this node and see it dead."""
    with logs.about(work_item=work_item):
        stopping.stop_agent(engine(), job_id)


@app.task(name=messages.FINISH_JOB)
def finish_job(job_id: int, work_item: str) -> None:
    """Read the verdict of an ended run on this node and keep its work."""
    with logs.about(work_item=work_item):
        finishing.finish_job(engine(), job_id)


@app.task(name=messages.PROCESS_DELIVERY)
def process_delivery(delivery_id: int, others: Sequence[int] = ()) -> None:
    """Do what kept deliveries hint at; several that came together are in one message."""
    deliveries.process_deliveries(engine(), (delivery_id, *others))


@app.task(name=messages.PROCESS_INBOX)
def process_inbox() -> None:
    """Deliveries from the spool, and those whose nudge was lost."""
    sweep("inbox", _inbox)


def _inbox(found: Engine) -> str:
    drained = spool.drain(found.store, spool.directory(settings().data_dir))
    return f"{drained} from the spool, {deliveries.sweep_inbox(found)} due"


@app.task(name=messages.REAP)
def reap() -> None:
    """One pass of the reaper."""
    sweep("reap", reaper.reap, enabled=settings().switches.reaper_enabled)


@app.task(name=messages.RECONCILE)
def reconcile() -> None:
    """One pass of the reconciler."""
    sweep("reconcile", reconciler.reconcile, enabled=settings().switches.reconciler_enabled)


@app.task(name=messages.FINALIZE_DEPLOYS)
def finalize_deploys() -> None:
    """One pass over deployments that have not ended."""
    sweep("finalize-deploys", lambda found: deploys.finalize_deploys(deploys.finalizer_parts(found)))
