"""Merge the pull request: what lands is the very commit that was tested, once, whoever asked and whatever was answered.

The candidate is published to the branch by compare-and-swap, then the base branch is moved to it by the forge, as a
fast-forward with the expected head. Git has the first word in every look: a pull request that is open although the
base branch has the candidate is merged, and is only settled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Final, assert_never

from orchestrator.domain.errors import LostRaceError, NotFoundError, PermanentError, TransientError
from orchestrator.domain.lane_merges import merge_message
from orchestrator.domain.ownership import HeldLease
from orchestrator.domain.stages import EffectKind
from orchestrator.effects.contract import Absent, EffectContext, Impossible, Landed, Seen, Then
from orchestrator.effects.merged_commits import has
from orchestrator.ports import PullRequest, PullRequestState, Workspaces

__all__ = ["MergePullRequest", "merge_message"]

_MOVES: Final = 5
"""How often a withdrawal follows a branch that moves under it, before it leaves the rest to the next pass."""


@dataclass(frozen=True, slots=True)
class Decided:
    """The claim's request. ``tip``: where the branch stood; ``candidate`` is empty when there was nothing to build."""

    number: str
    judged: str
    tip: str
    candidate: str
    tree: str
    base: str
    branch: str
    base_branch: str

    @classmethod
    def read(cls, request: Mapping[str, str]) -> Decided:
        return cls(**{one.name: request[one.name] for one in fields(cls)})


class MergePullRequest:
    """Each candidate is a claim of its own: another base gives another commit and so another key."""

    kind: EffectKind = EffectKind.MERGE_PR
    keyless: bool = False

    def target(self, context: EffectContext) -> str:
        """``#<number>@<start of the candidate's SHA>``; of the merge commit, where a person merged before."""
        candidate = context.candidate
        sha = (context.view.merged_sha or "") if candidate is None else candidate.commit_sha
        return f"#{_number(context)}@{sha[:12]}"

    def request(self, context: EffectContext) -> Mapping[str, str]:
        """Raises PermanentError when the candidate is not made of the judged head, or the branch is the base branch."""
        view, candidate = context.view, context.candidate
        base_branch = context.ports.config.base_branch
        if view.branch == base_branch:
            raise PermanentError(f"{view.branch} is the base branch: it has no pull request of its own")
        if candidate is not None:
            _must_have_judged_head(context, candidate.commit_sha)
        return asdict(
            Decided(
                number=str(_number(context)),
                judged=view.head_sha or "",
                tip=candidate.head_sha if candidate else "",
                candidate=candidate.commit_sha if candidate else "",
                tree=candidate.tree_sha if candidate else "",
                base=candidate.base_sha if candidate else context.base_sha,
                branch=view.branch,
                base_branch=base_branch,
            )
        )

    def look(self, context: EffectContext) -> Seen:
        """Whether the base branch has the candidate, or the pull request was merged otherwise; else whether it can be.

        ``Landed.result``: ``merge_sha``, and ``by_hand`` = yes where it is not the commit that we built.
        """
        seen = _read(context)
        # A merge may land between the read of the base and the read that shows that none can land any more.
        # What can no longer land has landed or not: only a read of the base after that says which.
        return _read(context) if isinstance(seen, Impossible) else seen

    def act(self, context: EffectContext, lease: HeldLease) -> None:
        """Publish and merge, or settle what git has already. Whatever comes back says nothing: look again."""
        decided, forge = Decided.read(context.request), context.ports.forge
        number = int(decided.number)
        seen = _read(context)
        if isinstance(seen, Landed) and seen.unsettled:
            forge.settle_pull_request(number, decided.candidate)
        if not isinstance(seen, Absent):
            return
        context.ports.workspaces.publish(decided.branch, decided.candidate, expected_old=decided.tip)
        # The point of no return.
        forge.merge_pull_request(number, expected_head=decided.candidate, message=merge_message(context.view))

    def revoke(self, context: EffectContext, lease: HeldLease) -> None:
        """Give the branch a head that it never had, so that the expected head of no request on its way comes back.

        A merge that landed is left alone. Raises TransientError when the branch moves faster than we can follow.
        """
        decided, workspaces = Decided.read(context.request), context.ports.workspaces
        for _ in range(_MOVES):
            tip = workspaces.branch_tip(decided.branch)
            if not tip or tip not in (decided.tip, decided.candidate) or isinstance(_read(context), Landed):
                return
            try:
                workspaces.move_aside(decided.branch, tip)
            except LostRaceError:
                continue  # our own publish may have landed just now: what it left is to be moved too
        raise TransientError(f"{decided.branch} moves while it is to be moved aside")


def _number(context: EffectContext) -> int:
    if context.view.pull_request is None:
        raise PermanentError(
            f"{context.view.work_item} has no pull request to merge", remedy="retry the item from development"
        )
    return context.view.pull_request


def _must_have_judged_head(context: EffectContext, sha: str) -> None:
    judged = context.view.head_sha
    if sha == context.view.merged_sha:
        return  # merged by a person, who may have made one commit of all: what landed has the last word
    if judged is None or not context.ports.workspaces.is_ancestor(judged, sha):
        raise PermanentError(f"the merge result {sha} does not have the judged head {judged}")


def _read(context: EffectContext) -> Seen:
    decided, workspaces = Decided.read(context.request), context.ports.workspaces
    base = workspaces.base_tip()
    workspaces.fetch()
    landed = bool(decided.candidate) and has(workspaces, base, decided.candidate)
    pull_request = context.ports.forge.pull_request(int(decided.number))
    if landed:
        return Landed({"merge_sha": decided.candidate}, unsettled=pull_request.state is PullRequestState.OPEN)
    match pull_request.state:
        case PullRequestState.MERGED:
            return _merged_otherwise(decided, pull_request, base)
        case PullRequestState.CLOSED:
            return Impossible(f"pull request #{decided.number} was closed without a merge")
        case PullRequestState.OPEN:
            return _possible(workspaces, decided, base)
        case _:
            assert_never(pull_request.state)


def _merged_otherwise(decided: Decided, pull_request: PullRequest, base: str) -> Landed:
    """By a person, with a commit of another make; or by us, after the base was read."""
    merged = pull_request.merge_sha or base
    return Landed({"merge_sha": merged} if merged == decided.candidate else {"merge_sha": merged, "by_hand": "yes"})


def _possible(workspaces: Workspaces, decided: Decided, base: str) -> Absent | Impossible:
    if not decided.candidate:
        return Impossible(f"pull request #{decided.number} is open and no merge result was built for it")
    tip = workspaces.branch_tip(decided.branch)
    if tip not in (decided.tip, decided.candidate):
        return Impossible(
            f"head moved: {decided.branch} stands at {tip or 'nothing'}, not at {decided.tip}", Then.GO_BACK
        )
    if base != decided.base:
        return Impossible(
            f"base moved: {decided.base_branch} is at {base}, not at {decided.base}; build again", Then.DECIDE_AGAIN
        )
    if not _is_here(workspaces, decided.candidate):
        return Impossible(
            f"the merge result {decided.candidate} is nowhere to be found; build again", Then.DECIDE_AGAIN
        )
    return Absent()


def _is_here(workspaces: Workspaces, sha: str) -> bool:
    try:
        workspaces.tree_of(sha)
    except NotFoundError:
        return False
    return True
