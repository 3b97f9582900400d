"""Close the pull requests of a cancelled task's branch for good. What was merged stays merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.domain.ownership import HeldLease
from orchestrator.domain.stages import EffectKind
from orchestrator.effects.contract import Absent, EffectContext, Landed, Seen
from orchestrator.effects.merged_commits import settle_merged
from orchestrator.ports import PullRequest, PullRequestState


class ClosePullRequest:
    """By the branch, not by a number: one whose opening was never answered is closed as well."""

    kind: EffectKind = EffectKind.CLOSE_PR
    keyless: bool = False

    def target(self, context: EffectContext) -> str:
        return context.view.branch

    def request(self, context: EffectContext) -> Mapping[str, str]:
        return {"branch": context.view.branch}

    def look(self, context: EffectContext) -> Seen:
        """``Landed.result``: the numbers that are ``closed`` and ``merged``, empty where there are none."""
        found = context.ports.forge.find_pull_requests(context.request["branch"])
        if _numbers(found, PullRequestState.OPEN):
            return Absent()
        closed, merged = (_numbers(found, state) for state in (PullRequestState.CLOSED, PullRequestState.MERGED))
        return Landed({"closed": " ".join(closed), "merged": " ".join(merged)})

    def act(self, context: EffectContext, lease: HeldLease) -> None:
        """Settle what git has merged already, so that it is not shown as thrown away; close the rest."""
        forge = context.ports.forge
        settle_merged(context, context.request["branch"])
        for number in _numbers(forge.find_pull_requests(context.request["branch"]), PullRequestState.OPEN):
            # The point of no return, of each.
            forge.close_pull_request(int(number))

    def revoke(self, context: EffectContext, lease: HeldLease) -> None:
        """Nothing to take back: closing is what ends a task, and it is only claimed once the end is decided."""


def _numbers(found: Sequence[PullRequest], state: PullRequestState) -> list[str]:
    return [str(one.number) for one in found if one.state is state]
