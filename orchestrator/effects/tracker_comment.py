"""Say something on the work item, once an occasion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.domain.errors import NotFoundError
from orchestrator.domain.ownership import HeldLease
from orchestrator.domain.stages import EffectKind
from orchestrator.effects.contract import GONE, Absent, EffectContext, Landed, Seen
from orchestrator.effects.markers import comment_marker

_LONGEST_TEXT: Final = 20_000
"""Characters; what trackers take at the least."""


class CommentOnWorkItem:
    """The marker names task, visit and occasion, so a successor finds what its predecessor wrote."""

    kind: EffectKind = EffectKind.TRACKER_COMMENT
    keyless: bool = False

    def target(self, context: EffectContext) -> str:
        return _occasion(context)

    def request(self, context: EffectContext) -> Mapping[str, str]:
        return {
            "work_item": context.view.work_item,
            "marker": comment_marker(context.view, _occasion(context)),
            "text": (context.note or _occasion(context))[:_LONGEST_TEXT],
        }

    def look(self, context: EffectContext) -> Seen:
        """On an item that was deleted there is nothing to say, and nobody to read it."""
        try:
            found = context.ports.tracker.find_comment(context.request["work_item"], context.request["marker"])
        except NotFoundError:
            return GONE
        return Absent() if found is None else Landed({"comment": found})

    def act(self, context: EffectContext, lease: HeldLease) -> None:
        request = context.request
        # The point of no return.
        context.ports.tracker.add_comment(request["work_item"], request["marker"], request["text"])

    def revoke(self, context: EffectContext, lease: HeldLease) -> None:
        """Nothing to take back: a comment tells what was so when it was written."""


def _occasion(context: EffectContext) -> str:
    return context.occasion or (context.edge.name if context.edge else "start")
