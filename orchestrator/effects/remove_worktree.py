"""Remove the task's worktree and local branch from this node."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.domain.ownership import HeldLease
from orchestrator.domain.stages import EffectKind
from orchestrator.effects.contract import Absent, EffectContext, Landed, Seen


class RemoveWorktree:
    """Sees this node only; the step that asks for it runs where the worktree is."""

    kind: EffectKind = EffectKind.REMOVE_WORKTREE
    keyless: bool = False

    def target(self, context: EffectContext) -> str:
        return context.view.branch

    def request(self, context: EffectContext) -> Mapping[str, str]:
        return {"branch": context.view.branch}

    def look(self, context: EffectContext) -> Seen:
        branch = context.request["branch"]
        return Absent() if context.ports.workspaces.exists(branch) else Landed({"branch": branch})

    def act(self, context: EffectContext, lease: HeldLease) -> None:
        # The point of no return: what was not published is gone.
        context.ports.workspaces.remove(context.request["branch"])

    def revoke(self, context: EffectContext, lease: HeldLease) -> None:
        """Nothing to take back: the next run makes a worktree anew."""
