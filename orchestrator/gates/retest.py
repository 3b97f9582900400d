"""The re-test of a merge result, and the coverage that it measures."""

from __future__ import annotations

from orchestrator.gates.commands import Ran, run_in_checkout
from orchestrator.gates.context import GateContext
from orchestrator.gates.coverage_report import UnreadableReport, line_rate
from orchestrator.gates.results import digest
from orchestrator.ports import MergeCandidate


def config_digest(context: GateContext) -> str:
    """What decides how a merge result is tested."""
    repository = context.repository
    gates = repository.gates
    return digest("check_branch_mergeable", repository.setup, repository.test, gates.coverage_report, gates.timeout_s)


def run(context: GateContext, candidate: MergeCandidate) -> Ran:
    """Run set-up and tests with the files of the merge result. Raises TransientError when they could not run."""
    repository = context.repository
    return run_in_checkout(
        context,
        candidate.commit_sha,
        "the tests of the merge result",
        repository.test,
        report=repository.gates.coverage_report,
    )


def measured(context: GateContext, ran: Ran) -> tuple[float | None, str]:
    """The line rate of the report that the tests left, and a line about it ("" where none is configured)."""
    name = context.repository.gates.coverage_report
    if not name:
        return None, ""
    if ran.report is None:
        return None, f"the tests left no coverage report at {name}"
    rate = line_rate(ran.report)
    if isinstance(rate, UnreadableReport):
        return None, f"{name} is no coverage report: {rate.why}"
    return rate, f"{rate:.2%} of the lines are covered"
