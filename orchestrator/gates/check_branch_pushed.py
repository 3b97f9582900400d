"""``check_branch_pushed``: what was developed is at the forge, and it is a change."""

from __future__ import annotations

from orchestrator.domain.views import GateResult
from orchestrator.gates.context import GateContext
from orchestrator.gates.results import Bound, digest, short


def check(context: GateContext) -> GateResult:
    """The branch stands at the judged head, and that differs from the base branch."""
    view, bound = context.view, Bound(context, digest("check_branch_pushed"))
    if view.head_sha is None:
        return bound.failed("nothing was committed: change the repository, or answer that you are blocked")
    tip = context.ports.forge.branch_tip(view.branch)
    if tip != view.head_sha:
        return bound.failed(
            f"{view.branch} stands at {short(tip)} at the forge, not at the judged head {short(view.head_sha)}: "
            "somebody else pushed to it, or the push did not arrive"
        )
    changed = context.ports.workspaces.changed_files(context.base_sha, view.head_sha)
    if not changed:
        return bound.failed(f"{view.branch} changes nothing compared with {context.ports.config.base_branch}")
    return bound.passed(f"{view.branch} is at {short(tip)}; {len(changed)} files differ from the base branch")
