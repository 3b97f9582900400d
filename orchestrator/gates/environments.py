"""What a deployment row says, and what answers in its environment."""

from __future__ import annotations

from typing import Final, assert_never

from orchestrator.domain.configuration import DeploySpec
from orchestrator.domain.views import DeploymentStatus, DeploymentView, GateOutcome, GateResult, TaskView
from orchestrator.gates.context import GateContext
from orchestrator.gates.results import Bound, short
from orchestrator.ports import Observation

PATIENCE: Final = 5
"""How often in a row an environment may answer wrongly before that is a fail: a process that is still being
replaced answers so for a moment."""
RETRY_S: Final = 3.0
_SEEN: Final = "seen: "


def newest_deployment(view: TaskView, environment: str, sha: str | None = None) -> DeploymentView | None:
    """The last deployment that this task asked for there; with ``sha``, of that version."""
    found = [one for one in view.deployments if one.environment == environment and sha in (None, one.sha)]
    return found[-1] if found else None


def unless_succeeded(bound: Bound, deployment: DeploymentView) -> GateResult | None:
    """Wait while it is on its way, fail when it ended badly, None when it succeeded."""
    what = f"the deployment of {short(deployment.sha)} to {deployment.environment}"
    match deployment.status:
        case DeploymentStatus.REQUESTED | DeploymentStatus.RUNNING:
            return bound.waits(f"{what} is {deployment.status}", RETRY_S)
        case DeploymentStatus.FAILED | DeploymentStatus.ROLLED_BACK | DeploymentStatus.REVOKED:
            return bound.failed(f"{what} is {deployment.status}: {deployment.detail or 'no detail was written'}")
        case DeploymentStatus.SUCCEEDED:
            return None
        case _:
            assert_never(deployment.status)


def observed(context: GateContext, spec: DeploySpec) -> Observation:
    """What answers now. Raises TransientError when that cannot be told."""
    return context.ports.deployer.observe(spec)


def described(seen: Observation) -> str:
    health = "healthy" if seen.healthy else "not healthy"
    return f"{short(seen.version)} answers, {health}. {seen.detail}".strip()


def wait_or_fail(bound: Bound, gate: str, complaint: str) -> GateResult:
    """Wait a few times in a row, then fail."""
    waited = _waits_in_a_row(bound.context.view, gate)
    if waited < PATIENCE:
        return bound.waits(f"{_SEEN}{complaint}", RETRY_S)
    return bound.failed(f"{complaint} (seen {waited + 1} times in a row)")


def _waits_in_a_row(view: TaskView, gate: str) -> int:
    count = 0
    for result in reversed([one for one in view.gate_results if one.gate == gate]):
        if result.outcome is not GateOutcome.WAIT or not result.evidence.startswith(_SEEN):
            break
        count += 1
    return count
