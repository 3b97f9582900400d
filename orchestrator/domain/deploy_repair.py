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

    ``is_next``: nothing else runs or waits before it in its environment.
    """

    status: DeploymentStatus
    is_next: bool
    launched_s: float | None
    deployer: Liveness


@dataclass(frozen=True, slots=True)
class DeadDeploy:
    """A running row whose deployer is proven dead. Limits in seconds: how long its command may run, and how long after
    the start its version may stay silent."""

    sha: str
    running_s: float
    command: CommandState
    timeout_s: float
    health_timeout_s: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What answers in the environment now."""

    version: str | None
    healthy: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Nothing to do now, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class LaunchAgain:
    """Start a deployer; a second one loses the row and leaves."""


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Its deployer is dead: look after what it left."""


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


def repair(deploy: UnfinishedDeploy) -> Leave | LaunchAgain | TakeOver:
    """The next step for one row. Only proof of death takes a running one over, never its age."""
    match deploy.status:
        case DeploymentStatus.REQUESTED:
            return _repair_requested(deploy)
        case DeploymentStatus.RUNNING:
            dead = deploy.deployer is Liveness.DEAD
            return TakeOver() if dead else Leave(f"its deployer is {deploy.deployer}")
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


def take_over(dead: DeadDeploy) -> Leave | EndCommand | Look:
    """What is done before the look: a command that may still end well is waited for, within its own limit."""
    if dead.command is not CommandState.RUNNING:
        return Look()
    if dead.running_s < dead.timeout_s:
        return Leave("its deployer is dead, but the command still runs and may end well")
    return EndCommand()


def judge(dead: DeadDeploy, seen: Seen) -> Finish | Leave:
    """What the look means. A version that may still be coming up is waited for, within the limit."""
    if seen.version == dead.sha and seen.healthy:
        return Finish(True, seen.version, f"its deployer died; the version answers and is healthy: {seen.detail}")
    if dead.command is not CommandState.NOT_STARTED and dead.running_s < dead.health_timeout_s:
        return Leave("its deployer is dead; the version may still be coming up")
    health = "healthy" if seen.healthy else "not healthy"
    answers = f"{seen.version or 'nothing'} answers, {health}: {seen.detail}"
    return Finish(False, seen.version, f"its deployer died, its command: {dead.command}; {answers}")
