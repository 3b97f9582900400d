"""STOP: end what runs, make impossible what was claimed, clean up, commit ``cancelled``, and only then say so.

Entered under the lease with ``closing``: a live owner inside is waited for, never pushed aside.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.decide import undo_of_failed_deploy
from orchestrator.domain.errors import LostRaceError
from orchestrator.domain.ownership import LostRace
from orchestrator.domain.stages import AFTER_MERGE, EffectKind, Stage, cancel_edge
from orchestrator.domain.views import DeploymentStatus, EffectStatus, JobStatus, TaskView
from orchestrator.engine import effects, lane, late_verdicts
from orchestrator.engine.advance import Step
from orchestrator.engine.effects import EffectRefused, Scene
from orchestrator.engine.region import Region
from orchestrator.engine.stopping import StopDeferred, end_run, record_end
from orchestrator.failpoints import hit
from orchestrator.store import deployments, events, jobs, stage_commits, tasks
from orchestrator.store.stage_commits import StageCommit


def cancel(region: Region, view: TaskView) -> Step:
    """Bring a task with a STOP request to ``cancelled``, or to the end of what could no longer be stopped.

    Raises StopDeferred while something of it still runs elsewhere.
    """
    if view.stage is Stage.CANCELLED:
        return _acknowledge(region, view)
    hit("stop.requested")
    _end_agent(region, view)
    hit("stop.waited")
    base_sha, repository = region.base()
    scene = Scene(view=region.view(), repository=repository, base_sha=base_sha, occasion="stop", cleanup=True)
    own_effects = (*_cleaning_effects(view), *undo_of_failed_deploy(view))
    effects.withdraw_open_claims(region, scene, going_on=own_effects)
    _revoke_requested_deploys(region, scene)
    hit("stop.revoked")
    # One look for both questions: between two of them a deploy that runs could fail, and be neither.
    view = region.view()
    late = _landed_deploy(view)
    if late is not None:
        return _too_late(region, view, late)
    _put_back(region, replace(scene, view=view))
    _wait_for_roll_backs(region, view)
    _clean_up(region, replace(scene, view=view))
    hit("stop.cleaned")
    return _commit(region, view)


def _end_agent(region: Region, view: TaskView) -> None:
    """End the agent's processes and see them dead, strays included; the proof becomes an event."""
    job = view.job
    if job is None or job.status is not JobStatus.RUNNING:
        return
    if job.node != region.engine.host.node:
        region.engine.nudges.stop_agent(job.node or "", job.id, view.work_item)
        if job.exited_at is None:
            raise StopDeferred(f"its agent on {job.node} is being ended")
        return
    proof = end_run(region.engine, job.id)
    with region.engine.store.transaction() as connection:
        row = jobs.get(connection, job.id)
    if row is not None:
        record_end(region.engine, row, proof, region.held.actor)
    late_verdicts.note(region.engine, job.id)


def _revoke_requested_deploys(region: Region, scene: Scene) -> None:
    """A confirmed request that no deployer has won yet is still to be stopped: tombstone its row."""
    with region.engine.store.transaction(region.held.actor) as connection:
        for one in scene.view.deployments:
            if one.status is DeploymentStatus.REQUESTED:
                deployments.revoke(connection, one.id)


def _put_back(region: Region, scene: Scene) -> None:
    """A deploy that failed, and whose repair nobody had begun when the STOP came: a version that failed must not
    stay, and what is merged now must not be deployed on top of it. A repair that was made is not made again, for a
    person may have opened the lane since."""
    view = scene.view
    settled = {one.kind for one in view.effects_of_visit() if one.status is not EffectStatus.CLAIMED}
    for kind in undo_of_failed_deploy(view):
        if kind in settled:
            continue
        if view.stage in AFTER_MERGE:
            lane.close_after(region, view, "its production deploy failed, and then it was stopped")
        _best(region, scene, kind)


def _wait_for_roll_backs(region: Region, view: TaskView) -> None:
    """A roll back that was asked for goes on: a version that failed must not stay because its item was stopped. But
    people hear that the item is cancelled when nothing of it changes an environment any more."""
    with region.engine.store.transaction() as connection:
        asked = deployments.for_task(connection, view.task_id)
    for one in asked:
        if one.kind == deployments.ROLL_BACK and one.status in (DeploymentStatus.REQUESTED, DeploymentStatus.RUNNING):
            raise StopDeferred(
                f"{one.environment} is being put back to {one.sha[:12]}, whose roll back is {one.status}"
            )


def _landed_deploy(view: TaskView) -> str | None:
    """A production deploy that has begun (or ended well) cannot be unsaid: the task is finished honestly."""
    begun = (DeploymentStatus.RUNNING, DeploymentStatus.SUCCEEDED)
    found = [one for one in view.deployments if one.environment == "production" and one.status in begun]
    return f"production deploy {found[-1].id} of {found[-1].sha[:12]} is {found[-1].status}" if found else None


def _too_late(region: Region, view: TaskView, why: str) -> Step:
    with region.engine.store.transaction(region.held.actor) as connection:
        tasks.withdraw_stop(connection, view.task_id)
        events.record(connection, view.task_id, "stop.too_late", {"why": why})
    return Step.AGAIN


def _cleaning_effects(view: TaskView) -> tuple[EffectKind, ...]:
    edge = cancel_edge(view.stage)
    assert edge is not None, "a terminal task does not come here"
    return edge.effects


def _clean_up(region: Region, scene: Scene) -> None:
    for kind in _cleaning_effects(scene.view):
        _best(region, replace(scene, view=region.view(), edge=cancel_edge(scene.view.stage)), kind)


def _best(region: Region, scene: Scene, kind: EffectKind) -> None:
    """What a target refuses does not keep a task from being cancelled: people read in its history what stays."""
    try:
        effects.run(region, scene, kind)
    except EffectRefused as refusal:
        with region.engine.store.transaction(region.held.actor) as connection:
            events.record(connection, scene.view.task_id, "stop.kept", {"kind": kind, "why": refusal.message})


def _commit(region: Region, view: TaskView) -> Step:
    step = StageCommit(view.stage, view.stage_seq, Stage.CANCELLED, job_ends_as=JobStatus.CANCELLED)
    with region.engine.store.transaction(region.held.actor) as connection:
        outcome = stage_commits.commit_stage_cas(connection, region.held, step)
    if isinstance(outcome, LostRace):
        raise LostRaceError(outcome.why)
    hit("stage.after_commit")
    return Step.COMMITTED


def _acknowledge(region: Region, view: TaskView) -> Step:
    """The tracker is told last, with the proof: what was seen dead, what had landed, what was refused."""
    base_sha, repository = region.base()
    with region.engine.store.transaction() as connection:
        proof = tasks.stop_proof(connection, view.task_id)
    scene = Scene(
        view=view,
        repository=repository,
        base_sha=base_sha,
        edge=cancel_edge(Stage.ANALYSIS),
        note=f"{view.work_item} is cancelled.\n{_proof_text(view, proof)}",
        occasion="cancelled",
        cleanup=True,
    )
    for kind in (EffectKind.TRACKER_STATE, EffectKind.TRACKER_COMMENT, EffectKind.NOTIFY):
        effects.run(region, replace(scene, view=region.view()), kind)
    with region.engine.store.transaction(region.held.actor) as connection:
        tasks.acknowledge_stop(connection, view.task_id)
    return Step.COMMITTED


def _proof_text(view: TaskView, proof: list[str]) -> str:
    landed = "nothing had been merged" if view.merged_sha is None else f"merged before it: {view.merged_sha[:12]}"
    return "\n".join([*proof, landed])
