"""Open the pull request of the task's branch: one, recognised by a hidden marker in its body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.domain.errors import PermanentError
from orchestrator.domain.ownership import HeldLease
from orchestrator.domain.stages import EffectKind
from orchestrator.effects.contract import Absent, EffectContext, Impossible, Landed, Seen
from orchestrator.effects.markers import pull_request_marker
from orchestrator.ports import PullRequest, PullRequestState


class OpenPullRequest:
    """One a branch. An open one that a person made for the same base is as good as ours."""

    kind: EffectKind = EffectKind.OPEN_PR
    keyless: bool = False

    def target(self, context: EffectContext) -> str:
        return context.view.branch

    def request(self, context: EffectContext) -> Mapping[str, str]:
        """Raises PermanentError without a judged head."""
        view = context.view
        if view.head_sha is None:
            raise PermanentError(f"{view.work_item} has no head to open a pull request for")
        # The item's key comes first: a forge may read a title that begins with «WIP:» as a draft.
        return {
            "branch": view.branch,
            "base": context.ports.config.base_branch,
            "head": view.head_sha,
            "title": f"{view.work_item}: {view.title}",
            "text": context.note,
            "marker": pull_request_marker(view),
        }

    def look(self, context: EffectContext) -> Seen:
        """``Landed.result``: ``number`` and ``url``. Ours, closed without a merge, is impossible: a person said no."""
        found = context.ports.forge.find_pull_requests(context.request["branch"])
        ours = [one for one in found if context.request["marker"] in one.body]
        alive = [one for one in ours if one.state is not PullRequestState.CLOSED]
        for one in (*alive, *_of_others(found, context.request["base"])):
            return Landed({"number": str(one.number), "url": one.url})
        if ours:
            return Impossible(f"pull request #{ours[-1].number} was closed without a merge")
        return Absent()

    def act(self, context: EffectContext, lease: HeldLease) -> None:
        request = context.request
        # The point of no return.
        context.ports.forge.open_pull_request(
            head_branch=request["branch"],
            base_branch=request["base"],
            title=request["title"],
            body="\n\n".join(filter(None, (request["text"], request["marker"]))),
        )

    def revoke(self, context: EffectContext, lease: HeldLease) -> None:
        """Close what carries our marker. One that a person opened stays."""
        forge = context.ports.forge
        for one in forge.find_pull_requests(context.request["branch"]):
            if one.state is PullRequestState.OPEN and context.request["marker"] in one.body:
                forge.close_pull_request(one.number)


def _of_others(found: Sequence[PullRequest], base: str) -> list[PullRequest]:
    return [one for one in found if one.state is PullRequestState.OPEN and one.base_branch == base]
