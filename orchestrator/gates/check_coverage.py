"""``check_coverage``: the merge result covers no smaller share of its lines than the base branch did."""

from __future__ import annotations

from typing import Final

from orchestrator.domain.views import GateResult
from orchestrator.gates import check_branch_mergeable, retest
from orchestrator.gates.context import GateContext
from orchestrator.gates.coverage_report import PRECISION
from orchestrator.gates.merge_results import candidate_of
from orchestrator.gates.results import Bound, digest
from orchestrator.ports import MergeCandidate
from orchestrator.store import coverage, gate_results

NAME: Final = "check_coverage"


def check(context: GateContext) -> GateResult:
    """The line rate of the re-test against the baseline less the tolerance. No report is a fail where one is
    configured: a share that nobody measured is no share."""
    gates = context.repository.gates
    config = digest(NAME, retest.config_digest(context), gates.coverage_tolerance)
    if not gates.coverage_report:
        return Bound(context, config).passed("no coverage report is configured")
    candidate = candidate_of(context, config)
    if isinstance(candidate, GateResult):
        return candidate
    bound = Bound(context, config, candidate.tree_sha)
    rate, line = _measured(context, candidate)
    if rate is None:
        return bound.failed(line)
    return _compared(bound, rate, _baseline(context), gates.coverage_tolerance)


def _measured(context: GateContext, candidate: MergeCandidate) -> tuple[float | None, str]:
    """From the re-test that ``check_branch_mergeable`` did of this tree, or from one of our own."""
    with context.store.transaction() as connection:
        earlier = gate_results.passed_tree(
            connection,
            context.view.project,
            check_branch_mergeable.NAME,
            candidate.tree_sha,
            retest.config_digest(context),
        )
    if earlier is not None:
        return earlier.figure, earlier.evidence.splitlines()[-1]
    ran = retest.run(context, candidate)
    return retest.measured(context, ran) if ran.succeeded else (None, ran.evidence)


def _baseline(context: GateContext) -> float | None:
    with context.store.transaction() as connection:
        return coverage.baseline(connection, context.view.project, context.ports.config.base_branch)


def _compared(bound: Bound, rate: float, baseline: float | None, tolerance: float) -> GateResult:
    if baseline is None:
        return bound.passed(f"{rate:.2%} of the lines are covered; there was no baseline", rate)
    allowed = round(baseline - tolerance, PRECISION)
    line = f"{rate:.2%} of the lines are covered; the base branch has {baseline:.2%}, tolerance {tolerance:.2%}"
    if rate < allowed:
        return bound.failed(f"{line}. Add tests for the lines that were added.", rate)
    return bound.passed(line, rate)
