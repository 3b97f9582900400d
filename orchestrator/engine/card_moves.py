"""The card of a live task stands where the task does: at work, or waiting for a person. One that a person moved is put
back, with a comment that says why and what to do instead.

Which move means something (the entry, a relaunch in analysis, STOP) is intake's matter; all others come here.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.configuration import RepositoryConfig
from orchestrator.domain.errors import NotFoundError
from orchestrator.domain.stages import EffectKind
from orchestrator.domain.views import CardMove, TaskView
from orchestrator.domain.work_items import ENDINGS, TrackerState
from orchestrator.engine import effects
from orchestrator.engine.advance import Step
from orchestrator.engine.effects import Scene
from orchestrator.engine.region import Region
from orchestrator.store import card_moves


def put_back(region: Region, view: TaskView, move: CardMove) -> Step:
    """The move is a hint: the card is read again, under the lease, so that no write of ours is under way. The comment
    goes first, for a card that stands right again tells nobody that it was moved."""
    how = "it stands right by itself"
    if _is_astray(region, view):
        scene = replace(_scene(view, f"card-{move.id}"), note=_words(view, move), cleanup=view.stop is not None)
        effects.run(region, scene, EffectKind.TRACKER_COMMENT)
        effects.run(region, replace(scene, view=region.view()), EffectKind.TRACKER_STATE)
        how = f"put back to {view.card_belongs}"
    with region.engine.store.transaction(region.held.actor) as connection:
        card_moves.answered(connection, view.task_id, move, how)
    return Step.AGAIN


def move_card(region: Region, view: TaskView) -> Step:
    """The task began to wait for a person, or goes on: its card shows it, once. Where a person moved the card in the
    same moment, that is answered first, as any other move."""
    now = _stands_at(region, view)
    if now is not None and _is_a_persons_place(view, now) and _note(region, view, now):
        return Step.AGAIN
    why = "resumed" if view.parked is None else "parked"
    effects.run(region, _scene(view, f"{why}-{view.round}"), EffectKind.TRACKER_STATE)
    return Step.AGAIN


def _scene(view: TaskView, occasion: str) -> Scene:
    return Scene(view=view, repository=RepositoryConfig(""), base_sha="", occasion=occasion)


def _note(region: Region, view: TaskView, now: TrackerState) -> bool:
    with region.engine.store.transaction(region.held.actor) as connection:
        return card_moves.note_if_moved(connection, view.task_id, now, relaunched=False)


def _is_astray(region: Region, view: TaskView) -> bool:
    now = _stands_at(region, view)
    return now is not None and _is_a_persons_place(view, now)


def _stands_at(region: Region, view: TaskView) -> TrackerState | None:
    """None: the item is gone."""
    try:
        return region.ports.tracker.work_item(view.work_item).state
    except NotFoundError:
        return None


def _is_a_persons_place(view: TaskView, now: TrackerState) -> bool:
    """Neither where the task stands nor where we put it. Where our last write is an end, the end is about to be
    committed; a STOP is a wish of its own."""
    last = view.last_card()
    if last is None or last.request["state"] in ENDINGS:
        return False
    return now not in (TrackerState.STOP, view.card_belongs, last.request["state"])


def _words(view: TaskView, move: CardMove) -> str:
    if move.relaunched:
        return f"{view.work_item} is tried again."
    if view.parked is not None:
        return (
            f"The card was moved to {move.to} while the task waits for a person ({view.stage}): {view.parked.reason}\n"
            f"A move does not answer that, so it is put back to {view.card_belongs}. Mend the cause, then ask for "
            f"`orch retry {view.work_item}`; to end the work move the card to STOP."
        )
    return (
        f"The card was moved to {move.to} while the orchestrator works on it ({view.stage}). That means nothing here, "
        f"so it is put back to {view.card_belongs}. To end the work move it to STOP; to let a task that stands still "
        f"try again ask for `orch retry {view.work_item}`."
    )
