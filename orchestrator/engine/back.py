"""The ways that do not lead to production: back to development, and standing still until a person comes."""

from __future__ import annotations

import logging
from dataclasses import replace

from orchestrator.domain.configuration import RepositoryConfig
from orchestrator.domain.decide import Park, RollBack
from orchestrator.domain.errors import LostRaceError, OrchestratorError
from orchestrator.domain.ownership import LostRace
from orchestrator.domain.stages import AFTER_MERGE, EffectKind
from orchestrator.domain.views import TaskView
from orchestrator.engine import effects, lane
from orchestrator.engine.advance import Step, commit
from orchestrator.engine.effects import EffectRefused, Scene
from orchestrator.engine.region import Region
from orchestrator.store import tasks
from orchestrator.store.tasks import SameStage

_log = logging.getLogger(__name__)


def roll_back(region: Region, view: TaskView, decision: RollBack) -> Step:
    """Go back to development. With an open claim nobody goes back before it was made impossible and read back;
    what landed after all is confirmed, and the next decision goes forward with it."""
    scene = _scene(region, view, decision.reason, f"{decision.edge.source}-sent-back")
    # A mend after a merge has a branch of its own: nobody would come back for the merged one.
    cleanup = (EffectKind.DELETE_BRANCH, EffectKind.REMOVE_WORKTREE) if decision.new_branch else ()
    if effects.withdraw_open_claims(region, scene, going_on=(*decision.before, *cleanup)):
        return Step.AGAIN
    _close_lane(region, view, decision.before, decision.reason)
    for kind in (*decision.before, *decision.edge.effects, *cleanup):
        _best(region, replace(scene, view=region.view(), edge=decision.edge), kind)
    branch = f"orch/{view.work_item}-{view.generation + 2}" if decision.new_branch else None
    return commit(region, view, decision.edge, evidence=decision.reason, new_branch=branch)


def park(region: Region, view: TaskView, decision: Park) -> Step:
    """Stand still with a reason; people are told once."""
    note, occasion = f"{view.work_item} is parked: {decision.reason}", f"parked-{view.round}"
    _close_lane(region, view, decision.before, decision.reason)
    for kind in decision.before:
        _best(region, _scene(region, view, note, occasion), kind)
    scene = Scene(view=view, repository=RepositoryConfig(""), base_sha="", note=note, occasion=occasion)
    _tell(region, scene)
    _give_up_messages(region, scene)
    at = SameStage(view.stage, view.stage_seq)
    with region.engine.store.transaction(region.held.actor) as connection:
        outcome = tasks.park_if_epoch_holds(connection, region.held, at, decision.reason)
    if isinstance(outcome, LostRace):
        raise LostRaceError(outcome.why)
    return Step.COMMITTED


def _close_lane(region: Region, view: TaskView, before: tuple[EffectKind, ...], reason: str) -> None:
    """Before anything else of the repair: what is merged now would be deployed on top of what just failed."""
    if view.stage in AFTER_MERGE and EffectKind.ROLL_BACK_DEPLOY in before:
        lane.close_after(region, view, reason)


def _tell(region: Region, scene: Scene) -> None:
    """A message that cannot be sent must not keep a task from standing still."""
    try:
        effects.run(region, scene, EffectKind.NOTIFY)
    except LostRaceError:
        raise
    except OrchestratorError as error:
        _log.warning("people were not told that %s is parked: %s", scene.view.work_item, error)


def _give_up_messages(region: Region, scene: Scene) -> None:
    """Nobody looks at a parked task again, and a message without a key cannot be looked for: what was not answered,
    this one's or a dead owner's, is taken back, so that at rest no claim is open. It may have arrived or not."""
    view = region.view()
    told = tuple(one for one in view.open_claims() if one.kind is EffectKind.NOTIFY)
    effects.withdraw_open_claims(region, replace(scene, view=replace(view, effects=told)))


def _scene(region: Region, view: TaskView, note: str, occasion: str) -> Scene:
    base_sha, repository = region.base()
    return Scene(view=view, repository=repository, base_sha=base_sha, note=note, occasion=occasion)


def _best(region: Region, scene: Scene, kind: EffectKind) -> None:
    """An effect that a target refuses does not keep a task from going back: the refusal stands in the ledger."""
    try:
        effects.run(region, scene, kind)
    except EffectRefused:
        return
