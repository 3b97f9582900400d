"""Where green comes from: statuses that others report, or the orchestrator's own run of the tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orchestrator.domain.errors import TransientError
from orchestrator.domain.views import GateOutcome, GateResult
from orchestrator.gates.commands import Ran, run_in_checkout
from orchestrator.gates.context import GateContext
from orchestrator.gates.results import Bound, digest, head_of, short
from orchestrator.ports import OWN_CONTEXT, CommitStatus, StatusState
from orchestrator.store import gate_results

"""The status by which the orchestrator reports its own run of the tests."""

_GATES: Final = ("check_ci_green", "check_tests_pass")
"""Whose passes are runs of the same tests."""
_RETRY_S: Final = 10.0
_LONGEST_DESCRIPTION: Final = 140
"""What every forge takes as the description of a status."""


def judge(context: GateContext) -> GateResult:
    """Whether the head is green. Raises TransientError when the tests could not run or the forge does not answer."""
    if context.repository.gates.ci.source == "statuses":
        return _reported(context)
    return _own(context)


def _reported(context: GateContext) -> GateResult:
    required = context.repository.gates.ci.required
    bound = Bound(context, digest("ci", "statuses", required))
    others = [
        one
        for one in context.ports.forge.statuses(head_of(context))
        if one.context != OWN_CONTEXT or one.context in required
    ]
    return _result(bound, *combined(others, required or tuple(one.context for one in others)))


def _own(context: GateContext) -> GateResult:
    repository = context.repository
    if not repository.test:
        return Bound(context, digest("ci", "none")).passed("no test command is configured, so nothing was run")
    config = digest("ci", "run", repository.setup, repository.test, repository.gates.ci.required)
    bound = Bound(context, config, context.ports.workspaces.tree_of(head_of(context)))
    ran = _earlier_pass(bound) or run_in_checkout(context, head_of(context), "the tests", repository.test)
    _report(context, ran)
    if not ran.succeeded:
        return bound.failed(ran.evidence)
    seen = context.ports.forge.statuses(head_of(context))
    if not any(one.context == OWN_CONTEXT and one.state is StatusState.SUCCESS for one in seen):
        raise TransientError(f"the status {OWN_CONTEXT} was set and cannot be read back")
    outcome, others = combined(seen, (OWN_CONTEXT, *repository.gates.ci.required))
    return _result(bound, outcome, ran.evidence if outcome is GateOutcome.PASS else others)


def _earlier_pass(bound: Bound) -> Ran | None:
    """The same tests passed the same files before, maybe under another commit."""
    project, tree = bound.context.view.project, bound.tree_sha
    assert tree is not None, "the tree of the head is known"
    with bound.context.store.transaction() as connection:
        for gate in _GATES:
            found = gate_results.passed_tree(connection, project, gate, tree, bound.config_digest)
            if found is not None:
                return Ran(True, found.evidence)
    return None


def _report(context: GateContext, ran: Ran) -> None:
    """Tell the forge; repeating it is harmless."""
    state = StatusState.SUCCESS if ran.succeeded else StatusState.FAILURE
    line = ran.evidence.splitlines()[0][:_LONGEST_DESCRIPTION]
    context.ports.forge.set_status(head_of(context), OWN_CONTEXT, state, line)


def combined(statuses: Sequence[CommitStatus], wanted: Sequence[str]) -> tuple[GateOutcome, str]:
    """What ``wanted`` contexts say together: one failure fails, one that is pending or not there yet waits."""
    if not wanted:
        return GateOutcome.WAIT, "no status has been reported for this head yet"
    known = {one.context: one for one in statuses}
    failed = [known[one] for one in wanted if one in known and known[one].state is StatusState.FAILURE]
    if failed:
        return GateOutcome.FAIL, "\n".join(f"{one.context}: failure: {one.description}" for one in failed)
    open_ones = [one for one in wanted if one not in known or known[one].state is StatusState.PENDING]
    if open_ones:
        return GateOutcome.WAIT, f"waits for {', '.join(open_ones)}"
    return GateOutcome.PASS, f"green: {', '.join(wanted)}"


def _result(bound: Bound, outcome: GateOutcome, evidence: str) -> GateResult:
    match outcome:
        case GateOutcome.PASS:
            return bound.passed(evidence)
        case GateOutcome.FAIL:
            return bound.failed(evidence)
        case _:
            head = short(bound.context.view.head_sha)
            return bound.waits(f"{evidence} ({head})", _RETRY_S)
