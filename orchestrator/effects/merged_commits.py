"""What the base branch has, and pull requests that the forge shows as open although git has merged them."""

from __future__ import annotations

from orchestrator.domain.errors import NotFoundError
from orchestrator.domain.stages import EffectKind
from orchestrator.domain.views import TaskView
from orchestrator.effects.contract import EffectContext
from orchestrator.ports import PullRequestState, Workspaces


def candidates(view: TaskView, branch: str) -> tuple[str, ...]:
    """Every merge commit that was claimed for ``branch``, newest first; a fix after a merge has a branch of its own."""
    merges = [one.request for one in reversed(view.effects) if one.kind is EffectKind.MERGE_PR]
    return tuple(one["candidate"] for one in merges if one["branch"] == branch and one["candidate"])


def has(workspaces: Workspaces, base: str, sha: str) -> bool:
    """Whether the branch that stands at ``base``, which was fetched just now, has the commit ``sha``."""
    try:
        return workspaces.is_ancestor(sha, base)
    except NotFoundError:
        # A commit that is on no branch of the forge and not here is not in the base, provided that the base is here.
        workspaces.tree_of(base)
        return False


def is_in_base(workspaces: Workspaces, sha: str) -> bool:
    """Whether the base branch at the forge has ``sha`` now."""
    base = workspaces.base_tip()
    workspaces.fetch()
    return has(workspaces, base, sha)


def settle_merged(context: EffectContext, branch: str) -> None:
    """Mark as merged each open pull request of ``branch`` whose claimed merge the base branch has."""
    forge, workspaces = context.ports.forge, context.ports.workspaces
    still_open = [one for one in forge.find_pull_requests(branch) if one.state is PullRequestState.OPEN]
    claimed = candidates(context.view, branch) if still_open else ()
    landed = [sha for sha in claimed if is_in_base(workspaces, sha)]
    for one in still_open if landed else []:
        forge.settle_pull_request(one.number, landed[0])
