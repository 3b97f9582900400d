"""Delete the task's branch at the forge, only while it stands where it stood when that was decided."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.domain.errors import PermanentError
from orchestrator.domain.ownership import HeldLease
from orchestrator.domain.stages import EdgeKind, EffectKind
from orchestrator.effects.contract import Absent, EffectContext, Impossible, Landed, Seen
from orchestrator.effects.merged_commits import candidates, is_in_base, settle_merged


class DeleteBranch:
    """Never the base branch, and after a merge never commits that are in no merge and that we do not know."""

    kind: EffectKind = EffectKind.DELETE_BRANCH
    keyless: bool = False

    def target(self, context: EffectContext) -> str:
        return _checked(context, context.view.branch)

    def request(self, context: EffectContext) -> Mapping[str, str]:
        """``tip`` is where it stands now; ``keep`` says why it is not to be deleted, if so."""
        branch = _checked(context, context.view.branch)
        tip = context.ports.workspaces.branch_tip(branch) or ""
        return {"branch": branch, "tip": tip, "keep": _why_kept(context, tip) if tip else ""}

    def look(self, context: EffectContext) -> Seen:
        """Gone, or decided to be kept: landed. Standing elsewhere: impossible, somebody pushed to it."""
        request = context.request
        branch = _checked(context, request["branch"])
        tip = context.ports.workspaces.branch_tip(branch)
        if tip is None:
            return Landed({"branch": branch, "tip": request["tip"]})
        if request["keep"]:
            return Landed({"branch": branch, "kept": request["keep"]})
        if tip != request["tip"]:
            return Impossible(f"moved: {branch} stands at {tip}, not at {request['tip'] or 'nothing'}; it is kept")
        return Absent()

    def act(self, context: EffectContext, lease: HeldLease) -> None:
        branch = _checked(context, context.request["branch"])
        # A forge marks an open pull request as closed when its branch goes, also one that git has merged.
        settle_merged(context, branch)
        # The point of no return.
        context.ports.forge.delete_branch(branch, expected_tip=context.request["tip"])

    def revoke(self, context: EffectContext, lease: HeldLease) -> None:
        """Nothing to take back: a branch is deleted once its task is over, whichever way it went."""


def _checked(context: EffectContext, branch: str) -> str:
    if branch == context.ports.config.base_branch:
        raise PermanentError(f"{branch} is the base branch of {context.view.project} and is never deleted")
    return branch


def _why_kept(context: EffectContext, tip: str) -> str:
    """A cancelled task's branch goes with all that is on it; a finished one's only when nothing is lost by it."""
    view = context.view
    if context.edge is None or context.edge.kind is not EdgeKind.FORWARD:
        return ""
    if tip in (view.head_sha, *candidates(view, view.branch)) or is_in_base(context.ports.workspaces, tip):
        return ""
    return f"{tip} is in no merge and was not made by this task"
