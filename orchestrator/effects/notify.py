"""Tell people. The one effect without a key: after a fault it may be told again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.domain.errors import OrchestratorError, TransientError
from orchestrator.domain.ownership import HeldLease
from orchestrator.domain.stages import EffectKind
from orchestrator.effects.contract import Absent, EffectContext, Seen
from orchestrator.ports import Notification

_SEVERITIES: Final = {"park": "warning", "alert": "alert"}
"""By how the occasion begins; all else is ``info``."""


class NotifyPeople:
    """Sends to every notifier. What it sent cannot be looked up anywhere, so nothing recognises a repetition."""

    kind: EffectKind = EffectKind.NOTIFY
    keyless: bool = True

    def target(self, context: EffectContext) -> str:
        return context.occasion or (context.edge.name if context.edge else "start")

    def request(self, context: EffectContext) -> Mapping[str, str]:
        occasion = self.target(context)
        severity = next((one for word, one in _SEVERITIES.items() if occasion.startswith(word)), "info")
        title = f"{context.view.work_item}: {context.view.title}"
        return {"title": title, "text": context.note or occasion, "severity": severity}

    def look(self, context: EffectContext) -> Seen:
        """Always absent: nobody can tell."""
        return Absent()

    def act(self, context: EffectContext, lease: HeldLease) -> None:
        """One notifier that fails hides no other. Raises TransientError at the end, which names those that failed."""
        request = context.request
        message = Notification(request["title"], request["text"], request["severity"])
        failed: list[str] = []
        for notifier in context.notifiers:
            try:
                # The point of no return, of each.
                notifier.send(message)
            except OrchestratorError as error:
                failed.append(f"{notifier.name}: {error}")
        if failed:
            raise TransientError(f"not everybody was told: {'; '.join(failed)}")

    def revoke(self, context: EffectContext, lease: HeldLease) -> None:
        """Nothing to take back: a message that was sent is read."""
