"""Put the previous version back after a deploy that failed. Its row is the start; the deployer ends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.domain.errors import PermanentError
from orchestrator.domain.ownership import HeldLease
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.domain.views import DeploymentStatus, DeploymentView, TaskView
from orchestrator.effects import deploy_rows
from orchestrator.effects.contract import Absent, EffectContext, Landed, Seen
from orchestrator.effects.deploy_rows import Wanted
from orchestrator.effects.start_deploy import STAGING
from orchestrator.store import deployments

_ENVIRONMENTS: Final = {Stage.DEPLOY: deployments.PRODUCTION, Stage.DEPLOY_STAGING: STAGING}


class RollBackDeploy:
    """Once a visit and environment. Without a previous version there is nothing to put back: ``skipped``."""

    kind: EffectKind = EffectKind.ROLL_BACK_DEPLOY
    keyless: bool = False

    def target(self, context: EffectContext) -> str:
        return _failed(context.view).environment

    def request(self, context: EffectContext) -> Mapping[str, str]:
        """Raises PermanentError when no deployment of the stage's environment failed."""
        failed = _failed(context.view)
        sha = failed.previous_sha or ""
        return {
            "environment": failed.environment,
            "visit": str(context.view.visit),
            "failed": str(failed.id),
            "sha": sha,
            "image": _image_of(context, failed.environment, sha),
        }

    def look(self, context: EffectContext) -> Seen:
        """``Landed.result``: ``deployment`` (the row's id) and ``sha``; or ``skipped``."""
        wanted = Wanted.read(context.request, deployments.ROLL_BACK)
        found = deploy_rows.find(context, wanted)
        if found is not None:
            return found
        if not wanted.sha:
            return Landed({"skipped": f"{wanted.environment} had no version before"})
        if wanted.environment not in context.repository.deploys:
            return Landed({"skipped": f"no deploy of {wanted.environment} is configured"})
        return Absent()

    def act(self, context: EffectContext, lease: HeldLease) -> None:
        deploy_rows.ask_and_launch(context, lease, Wanted.read(context.request, deployments.ROLL_BACK))

    def revoke(self, context: EffectContext, lease: HeldLease) -> None:
        deploy_rows.put_tombstone(context, lease, Wanted.read(context.request, deployments.ROLL_BACK))


def _failed(view: TaskView) -> DeploymentView:
    """The newest deployment of the stage's environment, which must have failed."""
    wanted = _ENVIRONMENTS.get(view.stage)
    newest = [one for one in view.deployments if one.environment == wanted][-1:]
    for one in newest:
        if one.status is DeploymentStatus.FAILED:
            return one
    raise PermanentError(f"{view.work_item} has no failed deployment at {view.stage} to roll back")


def _image_of(context: EffectContext, environment: str, sha: str) -> str:
    """Image of what answered there before; empty when that is not known any more."""
    with context.store.transaction() as connection:
        before = deployments.last_succeeded(connection, context.view.project, environment)
    return before.image or "" if before is not None and before.sha == sha else ""
