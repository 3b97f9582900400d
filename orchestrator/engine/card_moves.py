"""A card that a person moved while its task is live is put back, with a comment that says why and what to do instead.

Which move means something (the entry, a relaunch in analysis, STOP) is intake's matter; all others come here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from orchestrator.domain.configuration import RepositoryConfig
from orchestrator.domain.errors import NotFoundError
from orchestrator.domain.stages import EffectKind
from orchestrator.domain.views import CardMove, EffectStatus, TaskView
from orchestrator.domain.work_items import TrackerState
from orchestrator.engine import effects
from orchestrator.engine.advance import Step
from orchestrator.engine.effects import Scene
from orchestrator.engine.region import Region
from orchestrator.store import card_moves

_HELD: Final = TrackerState.IN_PROGRESS
"""Where a live task holds its card; where its last write put it to an end, the end is about to be committed."""


def put_back(region: Region, view: TaskView, move: CardMove) -> Step:
    """The move is a hint: the card is read again, under the lease, so that no write of ours is under way. The comment
    goes first, for a card that stands right again tells nobody that it was moved."""
    how = "it stands right by itself"
    if _is_astray(region, view):
        scene = Scene(
            view=view,
            repository=RepositoryConfig(""),
            base_sha="",
            note=_words(view, move),
            occasion=f"card-{move.id}",
            cleanup=view.stop is not None,
        )
        effects.run(region, scene, EffectKind.TRACKER_COMMENT)
        effects.run(region, replace(scene, view=region.view()), EffectKind.TRACKER_STATE)
        how = f"put back to {_HELD}"
    with region.engine.store.transaction(region.held.actor) as connection:
        card_moves.answered(connection, view.task_id, move, how)
    return Step.AGAIN


def _is_astray(region: Region, view: TaskView) -> bool:
    written = [one for one in view.effects if one.kind is EffectKind.TRACKER_STATE]
    last = next((one for one in reversed(written) if one.status is EffectStatus.CONFIRMED), None)
    if last is None or last.request["state"] != _HELD:
        return False
    try:
        now = region.ports.tracker.work_item(view.work_item).state
    except NotFoundError:
        return False
    return now not in (_HELD, TrackerState.STOP)


def _words(view: TaskView, move: CardMove) -> str:
    if move.relaunched:
        return f"{view.work_item} is tried again."
    return (
        f"The card was moved to {move.to} while the orchestrator works on it ({view.stage}). That means nothing here, "
        f"so it is put back to {_HELD}. To end the work move it to STOP; to let a task that stands still try again "
        f"ask for `orch retry {view.work_item}`."
    )
