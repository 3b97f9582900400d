"""What the rest of the fleet does: messages are delivered, agents play their part, deployers deploy, sweeps run."""

from __future__ import annotations

import uuid
from typing import Any

from orchestrator.domain.ownership import Committed, LostRace
from orchestrator.domain.stages import Actor as Who
from orchestrator.domain.stages import Stage
from orchestrator.domain.views import DeploymentStatus, Outcome
from orchestrator.engine import drive, reaper, reconciler
from orchestrator.engine.finalizer import finalize_deploys, finalizer_parts
from orchestrator.failpoints import hit
from orchestrator.store import deployments, jobs
from orchestrator.store.jobs import NewRun, Settlement
from tests.schedules.place import BRANCH, ITEM, Place
from tests.schedules.scheduler import current

_MESSAGES = 60
"""More than any story needs; two processes that nudge each other for ever would need more."""


def deliver(place: Place) -> int:
    """Deliver the messages of this process, and those that follow from them; how many there were."""
    actor = current()
    box = place.nudges.fleet if actor is None else actor.nudges
    count = 0
    while box and count < _MESSAGES:
        count += 1
        _handle(place, *box.pop(0))
    return count


def _handle(place: Place, name: str, *arguments: Any) -> None:
    match name:
        case "drive":
            drive.drive(place.engine, arguments[0], Who(arguments[1]))
        case "launch":
            play_agent(place, arguments[0])
        case "finalize":
            finalize_deploys(finalizer_parts(place.engine))
        case _:
            pass  # stop and finish: no agent of these stories outlives its launch


def play_agent(place: Place, job_id: int) -> None:
    """The agent of a queued job, from its start to its verdict: developers push, everybody says pass."""
    with place.store.transaction() as connection:
        job = jobs.get(connection, job_id)
    if job is None:
        return
    run = NewRun(uuid.uuid4().hex, 0, "command", "here", "/nowhere", "", place.host.myself())
    with place.store.transaction(Who.MONITOR) as connection:
        begun = jobs.begin(connection, job_id, run)
    if isinstance(begun, LostRace):
        return
    hit("job.spawned")
    if job.stage is Stage.DEVELOPMENT:
        place.remote.commit(BRANCH)
    head = place.remote.branches.get(BRANCH)
    with place.store.transaction(Who.MONITOR) as connection:
        jobs.record_exit(connection, run.run_id, exit_code=0, signal=None, reason="exited", last_turn=True)
        jobs.settle(connection, job_id, Settlement(Outcome.VERDICT, _pass(run.run_id, job.stage), head))
    place.engine.nudges.drive(job.task_id, ITEM, Who.MONITOR)


def _pass(run_id: str, stage: Stage) -> dict[str, object]:
    return {
        "schema": "verdict/1",
        "run_id": run_id,
        "verdict": "pass",
        "summary": f"{stage} is done",
        "findings": [],
        "artifacts": [],
        "blocked_on": None,
    }


def play_deployers(place: Place) -> int:
    """A detached deployer for every launch that has landed; how many there were."""
    count = 0
    while place.environments.launched:
        count += 1
        play_deployer(place, place.environments.launched.pop(0))
    return count


def play_deployer(place: Place, deployment_id: int) -> None:
    """One deployer: it wins its row or leaves, brings the version up, writes the end."""
    me = place.host.myself()
    with place.store.transaction("deployer") as connection:
        won = deployments.win_running(connection, deployment_id, me)
        row = deployments.get(connection, deployment_id)
        if isinstance(won, LostRace) and won.why == deployments.OCCUPIED:
            deployments.mark_not_launched(connection, deployment_id)
    if not isinstance(won, Committed) or row is None:
        return
    hit("deploy.won")
    environment = row.environment
    place.network.send("bring up", lambda: place.environments.bring_up(environment, row.id, row.sha))
    hit("deploy.done")
    status = DeploymentStatus.FAILED if place.environments.broken else row.status_when_landed
    with place.store.transaction("deployer") as connection:
        deployments.finish(connection, deployment_id, me, status, row.sha, "deployed")
    place.engine.nudges.drive(row.task_id, ITEM, Who.FINALIZER)


def sweep(place: Place) -> list[str]:
    """One pass of everything that beat runs, and what follows from it; units of sweeps that failed."""
    reaped = reaper.reap(place.engine)
    deliver(place)
    reconciled = reconciler.reconcile(place.engine)
    deliver(place)
    finalize_deploys(finalizer_parts(place.engine))
    play_deployers(place)
    deliver(place)
    return [*reaped.failures, *reconciled.failures]
