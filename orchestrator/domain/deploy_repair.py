"""What the finalizer would do with a deployment that has not ended: value in, value out.

Age alone proves nothing here: a running deployment ends by its deployer, or, once that is proven dead, by what is seen
to answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from orchestrator.domain.ownership import Liveness
from orchestrator.domain.views import DeploymentStatus

RELAUNCH_AFTER_S = 15.0
"""A deployer takes about a second to win its row; launching once more is harmless, only wasteful."""


class CommandState(StrEnum):
    """What is known on this node of the command of a deployment. It may outlive its deployer."""

    NOT_STARTED = "not started"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class UnfinishedDeploy:
    """One row as the finalizer sees it. Times in seconds, by the database's clock; None: it did not happen.

    ``is_next``: nothing else runs or waits before it in its environment. ``deployer`` and ``command`` are looked at for
    a running row only.
    """

    status: DeploymentStatus
    is_next: bool
    launched_s: float | None
    running_s: float | None
    deployer: Liveness = Liveness.UNKNOWN
    command: CommandState = CommandState.UNKNOWN


@dataclass(frozen=True, slots=True)
class DeployLimits:
    """How long the command may run, and how long after the start the version may stay silent; seconds."""

    timeout_s: float
    health_timeout_s: float


@dataclass(frozen=True, slots=True)
class Leave:
    """Nothing to do now, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class LaunchAgain:
    """Start a deployer; a second one loses the row and leaves."""


@dataclass(frozen=True, slots=True)
class EndCommand:
    """End the command of a dead deployer first, so that nothing lands after the look."""


@dataclass(frozen=True, slots=True)
class Look:
    """Read what answers in the environment and judge by that."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Write the end: whether the version landed, what was seen, and the evidence."""

    landed: bool
    observed_sha: str | None
    evidence: str


def repair(deploy: UnfinishedDeploy, limits: DeployLimits) -> Leave | LaunchAgain | EndCommand | Look:
    """The next step for one row."""
    match deploy.status:
        case DeploymentStatus.REQUESTED:
            return _repair_requested(deploy)
        case DeploymentStatus.RUNNING:
            return _repair_running(deploy, limits)
        case (
            DeploymentStatus.SUCCEEDED
            | DeploymentStatus.FAILED
            | DeploymentStatus.ROLLED_BACK
            | DeploymentStatus.REVOKED
        ):
            return Leave(f"it is {deploy.status}")
        case _:
            assert_never(deploy.status)


def _repair_requested(deploy: UnfinishedDeploy) -> Leave | LaunchAgain:
    if not deploy.is_next:
        return Leave("another deployment comes first in this environment")
    if deploy.launched_s is not None and deploy.launched_s < RELAUNCH_AFTER_S:
        return Leave("a deployer was launched just now")
    return LaunchAgain()


def _repair_running(deploy: UnfinishedDeploy, limits: DeployLimits) -> Leave | EndCommand | Look:
    if deploy.deployer is not Liveness.DEAD:
        return Leave(f"its deployer is {deploy.deployer}")
    if deploy.command is not CommandState.RUNNING:
        return Look()
    if (deploy.running_s or 0.0) < limits.timeout_s:
        return Leave("its deployer is dead, but the command still runs and may end well")
    return EndCommand()


@dataclass(frozen=True, slots=True)
class Seen:
    """What answers in the environment now."""

    version: str | None
    healthy: bool
    detail: str


def judge(deploy: UnfinishedDeploy, limits: DeployLimits, sha: str, seen: Seen) -> Finish | Leave:
    """What the look means for a running row whose deployer is dead.

    A version that may still be coming up is waited for as long as a living deployer would at most have.
    """
    if seen.version == sha and seen.healthy:
        return Finish(True, seen.version, "its deployer died; the version answers and is healthy")
    coming_up = deploy.command is not CommandState.NOT_STARTED and (deploy.running_s or 0.0) < limits.health_timeout_s
    if coming_up:
        return Leave("its deployer is dead; the version may still be coming up")
    answer = seen.version or "nothing"
    health = "healthy" if seen.healthy else "not healthy"
    why = f"its deployer died (command: {deploy.command}); {answer} answers, {health}: {seen.detail}"
    return Finish(False, seen.version, why)
