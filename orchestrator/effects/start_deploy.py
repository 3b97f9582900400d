"""Start a deploy: one row a task, visit and environment, and a detached deployer for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.domain.errors import PermanentError
from orchestrator.domain.images import digest_at
from orchestrator.domain.ownership import HeldLease
from orchestrator.domain.stages import EffectKind
from orchestrator.domain.views import TaskView
from orchestrator.effects import deploy_rows
from orchestrator.effects.contract import Absent, EffectContext, Impossible, Landed, Seen
from orchestrator.effects.deploy_rows import Wanted
from orchestrator.effects.merged_commits import is_in_base
from orchestrator.store import deployments, images

STAGING: Final = "staging"


class StartDeploy:
    """Staging gets the judged head; production the merge that was confirmed in this visit, and only what the base
    branch has.

    An environment that the repository does not configure is skipped: the effect lands with ``skipped`` and there is no
    row, so a gate that observes that environment has nothing to observe and must let it pass.
    """

    keyless: bool = False

    def __init__(self, kind: EffectKind, environment: str) -> None:
        self.kind: EffectKind = kind
        self._environment = environment

    def target(self, context: EffectContext) -> str:
        return self._environment

    def request(self, context: EffectContext) -> Mapping[str, str]:
        """``image`` is the tag, empty without one. Raises PermanentError when there is nothing that may be deployed."""
        production = self._environment == deployments.PRODUCTION
        sha = _merged(context.view) if production else _judged(context.view)
        image = _built_tag(context.view) if production else _fresh_tag(context, sha)
        return {"environment": self._environment, "visit": str(context.view.visit), "sha": sha, "image": image}

    def look(self, context: EffectContext) -> Seen:
        """``Landed.result``: ``deployment`` (the row's id) and ``sha``; or ``skipped``. A tombstone is impossible."""
        wanted = Wanted.read(context.request, deployments.DEPLOY)
        found = deploy_rows.find(context, wanted)
        if found is not None:
            return found
        if wanted.environment not in context.repository.deploys:
            return Landed({"skipped": f"no deploy of {wanted.environment} is configured"})
        if wanted.environment == deployments.PRODUCTION and not is_in_base(context.ports.workspaces, wanted.sha):
            return Impossible(f"{wanted.sha} is not in the base branch, so it may not go to production")
        return Absent()

    def act(self, context: EffectContext, lease: HeldLease) -> None:
        deploy_rows.ask_and_launch(context, lease, Wanted.read(context.request, deployments.DEPLOY))

    def revoke(self, context: EffectContext, lease: HeldLease) -> None:
        """A tombstone: a request that comes late finds it. What runs already is finished honestly."""
        deploy_rows.put_tombstone(context, lease, Wanted.read(context.request, deployments.DEPLOY))


def _judged(view: TaskView) -> str:
    if view.head_sha is None:
        raise PermanentError(f"{view.work_item} has no head to deploy")
    return view.head_sha


def _merged(view: TaskView) -> str:
    # Of this visit: the newest of any visit would be the merge before a fix.
    merge = view.confirmed(EffectKind.MERGE_PR)
    if merge is None or merge.visit != view.visit or not merge.result.get("merge_sha"):
        raise PermanentError(f"no merge of {view.work_item} is confirmed in this visit, so nothing goes to production")
    return merge.result["merge_sha"]


def _built_tag(view: TaskView) -> str:
    built = view.confirmed(EffectKind.REBUILD_IMAGE)
    return built.result.get("tag", "") if built is not None and built.visit == view.visit else ""


def _fresh_tag(context: EffectContext, sha: str) -> str:
    recipe = context.repository.image
    if recipe is None:
        return ""
    digest = digest_at(context.ports.workspaces, sha, recipe)
    with context.store.transaction() as connection:
        return images.newest_tag(connection, context.view.project, digest) or ""
