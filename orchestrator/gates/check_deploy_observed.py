"""``check_deploy_observed``: what answers in production is the merge commit, and it is healthy."""

from __future__ import annotations

import re
from typing import Final

from orchestrator.domain.errors import NotFoundError, PermanentError
from orchestrator.domain.views import GateResult
from orchestrator.gates.context import GateContext
from orchestrator.gates.environments import described, newest_deployment, observed, unless_succeeded, wait_or_fail
from orchestrator.gates.results import Bound, digest, short

NAME: Final = "check_deploy_observed"
_PRODUCTION: Final = "production"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def check(context: GateContext) -> GateResult:
    """Its deployment succeeded, and a look of now agrees; a newer version that contains the merge is as good."""
    spec, merged = context.repository.deploys.get(_PRODUCTION), context.view.merged_sha
    bound = Bound(context, digest(NAME, repr(spec)))
    if spec is None:
        return bound.passed("no production environment is configured")
    if merged is None:
        raise PermanentError("the task stands after the merge, but no merge commit is recorded")
    deployment = newest_deployment(context.view, _PRODUCTION, merged)
    if deployment is None:
        raise PermanentError(f"no deployment of the merge commit {short(merged)} to production was asked for")
    result = unless_succeeded(bound, deployment)
    if result is not None:
        return result
    seen = observed(context, spec)
    if seen.healthy and seen.version == merged:
        return bound.passed(described(seen))
    if seen.healthy and _contains(context, seen.version, merged):
        return bound.passed(f"{described(seen)} It is newer and contains the merge commit {short(merged)}.")
    return wait_or_fail(bound, NAME, f"{described(seen)} Expected in production: {short(merged)}.")


def _contains(context: GateContext, version: str | None, merged: str) -> bool:
    """Whether ``version`` is a commit of this repository that has the merge commit in its history."""
    if version is None or not _COMMIT.fullmatch(version):
        return False
    try:
        return context.ports.workspaces.is_ancestor(merged, version)
    except NotFoundError:
        return False
