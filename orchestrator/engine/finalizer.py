"""The deploy finalizer: one bounded pass over deployments that have not ended.

It starts deployers that never came, and ends what a dead deployer left by looking at the environment. Every write of it
is guarded, so any number of passes at once, or none for an hour, does no harm.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, assert_never

from orchestrator.domain.configuration import DeploySpec
from orchestrator.domain.deploy_repair import (
    CommandState,
    DeadDeploy,
    EndCommand,
    Finish,
    LaunchAgain,
    Leave,
    Look,
    Seen,
    TakeOver,
    UnfinishedDeploy,
    judge,
    repair,
    take_over,
)
from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.ownership import Committed, Liveness, LostRace
from orchestrator.domain.stages import Actor
from orchestrator.domain.views import DeploymentStatus
from orchestrator.engine.context import Engine
from orchestrator.ports import Deployer, DeployRequest, Host, Nudges
from orchestrator.store import counters, deployments
from orchestrator.store.database import Store
from orchestrator.store.deployments import Deployment

log: Final = logging.getLogger(__name__)
UNITS_A_PASS: Final = 50
"""Each look may take seconds; what is left over is first in the next pass, a few seconds later."""


@dataclass(frozen=True, slots=True)
class FinalizerParts:
    """``spec_of(project, environment)`` reads the deploy configuration from the base branch and raises
    ConfigurationError where there is none; ``deployer_of(project)`` gives the project's deployer."""

    store: Store
    host: Host
    nudges: Nudges
    spec_of: Callable[[str, str], DeploySpec]
    deployer_of: Callable[[str], Deployer]


def finalizer_parts(engine: Engine) -> FinalizerParts:
    """The parts of an engine that this pass needs."""

    def spec_of(project: str, environment: str) -> DeploySpec:
        ports = engine.project(project)
        spec = ports.repository.at(ports.workspaces.base_tip()).deploys.get(environment)
        if spec is None:
            raise ConfigurationError(f".orchestrator.yml of {project}: deploys: has no environment {environment}")
        return spec

    return FinalizerParts(
        store=engine.store,
        host=engine.host,
        nudges=engine.nudges,
        spec_of=spec_of,
        deployer_of=lambda project: engine.project(project).deployer,
    )


class Step(StrEnum):
    """What a pass did with one deployment."""

    LEFT = "left"
    LAUNCHED = "launched"
    LANDED = "landed"
    FAILED = "failed"
    LOST_RACE = "lost race"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class FinalizerUnit:
    """One deployment in one pass: what was done, and why."""

    deployment_id: int
    step: Step
    why: str


@dataclass(frozen=True, slots=True)
class FinalizerSummary:
    """One pass, deployment by deployment."""

    units: tuple[FinalizerUnit, ...] = ()

    def count(self, step: Step) -> int:
        return sum(unit.step is step for unit in self.units)

    def __str__(self) -> str:
        counted = Counter(unit.step for unit in self.units)
        return ", ".join(f"{number} {step}" for step, number in sorted(counted.items())) or "nothing to do"


def finalize_deploys(parts: FinalizerParts, limit: int = UNITS_A_PASS) -> FinalizerSummary:
    """Look after at most ``limit`` unfinished deployments, each alone: one that fails never stops the pass."""
    with parts.store.transaction(Actor.FINALIZER) as connection:
        rows = deployments.unfinished(connection, limit)
    nexts = _first_of_each_environment(rows)
    return FinalizerSummary(tuple(_one_alone(parts, row, is_next=row.id in nexts) for row in rows))


def _first_of_each_environment(rows: Sequence[Deployment]) -> frozenset[int]:
    """``rows`` come in the order in which they may run."""
    first: dict[tuple[str, str], int] = {}
    for row in rows:
        first.setdefault((row.project, row.environment), row.id)
    return frozenset(first.values())


def _one_alone(parts: FinalizerParts, row: Deployment, *, is_next: bool) -> FinalizerUnit:
    try:
        return _one(parts, row, is_next=is_next)
    except Exception as error:
        log.exception("deployment %s of %s (%s)", row.id, row.work_item, row.environment)
        with parts.store.transaction(Actor.FINALIZER) as connection:
            counters.add(connection, "finalizer_errors_total", row.environment)
        return FinalizerUnit(row.id, Step.ERROR, str(error))


def _one(parts: FinalizerParts, row: Deployment, *, is_next: bool) -> FinalizerUnit:
    deployer = parts.host.liveness(row.owner) if row.owner else Liveness.UNKNOWN
    match repair(UnfinishedDeploy(row.status, is_next, _seconds(row.launched_at, row), deployer)):
        case Leave(why):
            return FinalizerUnit(row.id, Step.LEFT, why)
        case LaunchAgain():
            return _launch(parts, row)
        case TakeOver():
            return _take_over(parts, row)
        case never:
            assert_never(never)


def _seconds(since: datetime | None, row: Deployment) -> float | None:
    return None if since is None else (row.read_at - since).total_seconds()


def _launch(parts: FinalizerParts, row: Deployment) -> FinalizerUnit:
    spec = parts.spec_of(row.project, row.environment)
    with parts.store.transaction(Actor.FINALIZER) as connection:
        marked = deployments.mark_launched(connection, row.id)
    if isinstance(marked, LostRace):
        return FinalizerUnit(row.id, Step.LOST_RACE, marked.why)
    deployer = parts.deployer_of(row.project)
    deployer.launch(DeployRequest(row.id, row.project, row.environment, row.sha, row.image, spec))
    return FinalizerUnit(row.id, Step.LAUNCHED, "no deployer came for it")


def _take_over(parts: FinalizerParts, row: Deployment) -> FinalizerUnit:
    spec = parts.spec_of(row.project, row.environment)
    deployer = parts.deployer_of(row.project)
    dead = DeadDeploy(
        sha=row.sha,
        running_s=_seconds(row.started_at, row) or 0.0,
        command=_command_state(parts, deployer, row),
        timeout_s=spec.timeout_s,
        health_timeout_s=spec.health_timeout_s,
    )
    match take_over(dead):
        case Leave(why):
            return FinalizerUnit(row.id, Step.LEFT, why)
        case EndCommand():
            if not deployer.end_command(row.id):
                return FinalizerUnit(row.id, Step.ERROR, "the command of its dead deployer could not be ended")
            return _look(parts, row, spec, replace(dead, command=CommandState.ENDED))
        case Look():
            return _look(parts, row, spec, dead)
        case never:
            assert_never(never)


def _command_state(parts: FinalizerParts, deployer: Deployer, row: Deployment) -> CommandState:
    """Only the node of the deployer knows of its command."""
    if row.owner is None or row.owner.node != parts.host.node:
        return CommandState.UNKNOWN
    return deployer.command_state(row.id)


def _look(parts: FinalizerParts, row: Deployment, spec: DeploySpec, dead: DeadDeploy) -> FinalizerUnit:
    seen = parts.deployer_of(row.project).observe(spec)
    verdict = judge(dead, Seen(seen.version, seen.healthy, seen.detail))
    if isinstance(verdict, Leave):
        return FinalizerUnit(row.id, Step.LEFT, verdict.why)
    return _finish(parts, row, verdict)


def _finish(parts: FinalizerParts, row: Deployment, end: Finish) -> FinalizerUnit:
    status = row.status_when_landed if end.landed else DeploymentStatus.FAILED
    with parts.store.transaction(Actor.FINALIZER) as connection:
        done = deployments.finish(connection, row.id, row.owner, status, end.observed_sha, end.evidence)
    if not isinstance(done, Committed):
        return FinalizerUnit(row.id, Step.LOST_RACE, done.why)
    parts.nudges.drive(row.task_id, row.work_item, Actor.FINALIZER)
    return FinalizerUnit(row.id, Step.LANDED if end.landed else Step.FAILED, end.evidence)
