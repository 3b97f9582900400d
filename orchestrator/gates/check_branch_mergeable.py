"""``check_branch_mergeable``: base and head merge, and the result passes the tests. What lands is that very tree."""

from __future__ import annotations

from typing import Final

from orchestrator.domain.views import GateResult
from orchestrator.gates import retest
from orchestrator.gates.context import GateContext
from orchestrator.gates.merge_results import candidate_of
from orchestrator.gates.results import Bound

NAME: Final = "check_branch_mergeable"


def check(context: GateContext) -> GateResult:
    """Fail naming the files in conflict, or with the end of the tests' output. The line rate that the tests reported
    goes with the pass as its figure, for ``check_coverage``."""
    config = retest.config_digest(context)
    candidate = candidate_of(context, config)
    if isinstance(candidate, GateResult):
        return candidate
    bound = Bound(context, config, candidate.tree_sha)
    if not context.repository.test:
        return bound.passed("base and head merge; no test command is configured, so nothing was run")
    ran = retest.run(context, candidate)
    if not ran.succeeded:
        return bound.failed(ran.evidence)
    figure, line = retest.measured(context, ran)
    return bound.passed(f"{ran.evidence}\n{line}", figure)


def fingerprint(context: GateContext) -> tuple[str, str] | None:
    """The same tree under the same commands gives the same answer."""
    if context.candidate is None:
        return None
    return context.candidate.tree_sha, retest.config_digest(context)
