"""What people may do about deployments: put the version before back."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.errors import ConfigurationError, LostRaceError, NotFoundError, UsageError
from orchestrator.domain.views import DeploymentStatus
from orchestrator.engine.context import Engine
from orchestrator.store import deployments, events
from orchestrator.store.deployments import Deployment


@dataclass(frozen=True, slots=True)
class RollBackWish:
    """What a roll back would do, as it was when it was looked at: ``current`` answers now, ``sha`` comes back."""

    current: Deployment
    sha: str


def plan_roll_back(engine: Engine, project: str, environment: str) -> RollBackWish:
    """What stands in the environment and what was there before.

    Raises NotFoundError when nothing was deployed there, UsageError when nothing was there before or a deployment is
    on its way.
    """
    if project not in engine.project_keys():
        raise NotFoundError(f"no project {project} is configured", remedy="`orch config check` shows the file in use")
    with engine.store.snapshot() as connection:
        current = deployments.last_succeeded(connection, project, environment)
        waiting = [one for one in deployments.unfinished(connection) if _is_in(one, project, environment)]
    if current is None:
        raise NotFoundError(f"nothing was deployed to {environment} of {project} yet")
    if waiting:
        raise UsageError(
            f"deployment {waiting[0].id} to {environment} is {waiting[0].status}", remedy="wait for its end"
        )
    if not current.previous_sha or current.previous_sha == current.sha:
        raise UsageError(f"{environment} of {project} had no version before {current.sha[:12]}")
    return RollBackWish(current, current.previous_sha)


def roll_back(engine: Engine, wish: RollBackWish, by: str) -> Deployment:
    """Ask for the version before by a deployment row of its own; the deployer that wins it does the rest.

    Raises LostRaceError when something was deployed since the plan, UsageError when it was asked for before.
    """
    current = wish.current
    _must_be_configured(engine, current)
    with engine.store.transaction(f"operator:{by}") as connection:
        now = deployments.last_succeeded(connection, current.project, current.environment)
        if now is None or now.id != current.id:
            raise LostRaceError(f"{current.environment} of {current.project} has another version by now")
        row = deployments.request(
            connection,
            task_id=current.task_id,
            visit=current.visit,
            project=current.project,
            environment=current.environment,
            sha=wish.sha,
            kind=deployments.ROLL_BACK,
        )
        if row.status is not DeploymentStatus.REQUESTED:
            raise UsageError(f"this roll back was asked for before: deployment {row.id} is {row.status}")
        events.record(connection, current.task_id, "deploy.roll_back_requested", {"deployment": row.id, "by": by})
    engine.nudges.finalize_deploys()
    return row


def _is_in(row: Deployment, project: str, environment: str) -> bool:
    return (row.project, row.environment) == (project, environment)


def _must_be_configured(engine: Engine, current: Deployment) -> None:
    ports = engine.project(current.project)
    if current.environment not in ports.repository.at(ports.workspaces.base_tip()).deploys:
        raise ConfigurationError(
            f".orchestrator.yml of {current.project}: deploys: has no environment {current.environment}",
            remedy="add it to the base branch, or roll back by hand",
        )
