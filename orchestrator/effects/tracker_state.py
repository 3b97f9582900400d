"""Move the work item at the tracker: in progress, done, cancelled, or waiting for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.domain.errors import NotFoundError
from orchestrator.domain.ownership import HeldLease
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.domain.work_items import ENDINGS
from orchestrator.effects.contract import GONE, Absent, EffectContext, Landed, Seen
from orchestrator.ports import GuardedTracker, TrackerState

_LAST_WORDS: Final = {Stage.DONE: TrackerState.DONE, Stage.CANCELLED: TrackerState.CANCELLED}


class MoveWorkItem:
    """Where the item is meant to stand follows from the edge; without one, from whether the task waits for a person."""

    kind: EffectKind = EffectKind.TRACKER_STATE
    keyless: bool = False

    def target(self, context: EffectContext) -> str:
        return "/".join(filter(None, (str(_wanted(context)), context.occasion)))

    def request(self, context: EffectContext) -> Mapping[str, str]:
        return {"work_item": context.view.work_item, "state": str(_wanted(context))}

    def look(self, context: EffectContext) -> Seen:
        """A STOP that a person wrote meanwhile is not written over, except by the end of the task: then ``kept``. On an
        item that was deleted there is nothing to do."""
        try:
            return _seen(_state_now(context), _requested(context))
        except NotFoundError:
            return GONE

    def act(self, context: EffectContext, lease: HeldLease) -> None:
        """Write it over the state that was just read and over no other, where the tracker can do that: a STOP that
        comes between read and write stays. The next look says what happened."""
        tracker, item, wanted = context.ports.tracker, context.request["work_item"], _requested(context)
        now = _state_now(context)
        if not isinstance(_seen(now, wanted), Absent):
            return
        # The point of no return; doing it twice is harmless.
        if isinstance(tracker, GuardedTracker):
            tracker.set_state_if(item, wanted, expected=now)
        else:
            tracker.set_state(item, wanted)

    def revoke(self, context: EffectContext, lease: HeldLease) -> None:
        """Nothing to take back: the state is written anew by whatever step comes next."""


def _requested(context: EffectContext) -> TrackerState:
    return TrackerState(context.request["state"])


def _state_now(context: EffectContext) -> TrackerState:
    return context.ports.tracker.work_item(context.request["work_item"]).state


def _seen(now: TrackerState, wanted: TrackerState) -> Seen:
    if now is wanted:
        return Landed({"state": str(now)})
    if now is TrackerState.STOP and wanted not in ENDINGS:
        return Landed({"kept": str(now)})
    return Absent()


def _wanted(context: EffectContext) -> TrackerState:
    if context.edge is not None:
        return _LAST_WORDS.get(context.edge.target, TrackerState.IN_PROGRESS)
    return context.view.card_belongs
