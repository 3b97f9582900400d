"""``check_staging_healthy``: the judged head answers in staging, and it is healthy, or was until another item came."""

from __future__ import annotations

from typing import Final

from orchestrator.domain.views import GateResult
from orchestrator.gates.context import GateContext
from orchestrator.gates.environments import described, newest_deployment, observed, unless_succeeded, wait_or_fail
from orchestrator.gates.results import Bound, digest, head_of, short
from orchestrator.store import deployments

NAME: Final = "check_staging_healthy"
_STAGING: Final = "staging"


def check(context: GateContext) -> GateResult:
    """Its newest deployment there succeeded, and a look of now agrees. Without a staging environment: pass.

    Items share the environment. One that was seen healthy there by its own deployer, and was replaced by another item's
    deployment since, has been judged: what answers now says nothing about it.
    """
    spec = context.repository.deploys.get(_STAGING)
    bound = Bound(context, digest(NAME, repr(spec)))
    if spec is None:
        return bound.passed("no staging environment is configured")
    head, deployment = head_of(context), newest_deployment(context.view, _STAGING)
    if deployment is None or deployment.sha != head:
        there = None if deployment is None else deployment.sha
        return bound.failed(f"{short(there)} of this task was deployed to staging, but the head is {short(head)}")
    result = unless_succeeded(bound, deployment)
    if result is not None:
        return result
    seen = observed(context, spec)
    if seen.version == head and seen.healthy:
        return bound.passed(described(seen))
    with context.store.transaction() as connection:
        later = deployments.successor(connection, deployment.id)
    if later is not None:
        return bound.passed(
            f"{short(head)} was seen healthy in staging: {deployment.detail} "
            f"{later.work_item} took its place there since, with {short(later.sha)}."
        )
    return wait_or_fail(bound, NAME, f"{described(seen)} Expected in staging: {short(head)}.")
