"""``check_tests_pass``: testing passed this very head, and it is still green."""

from __future__ import annotations

from orchestrator.domain.stages import Stage
from orchestrator.domain.views import GateResult
from orchestrator.gates import ci
from orchestrator.gates.agent_verdicts import objection_for_head
from orchestrator.gates.context import GateContext
from orchestrator.gates.results import Bound, digest


def check(context: GateContext) -> GateResult:
    """The tester says pass of the head that is to go on, and green is green for that head: a tester who committed
    tests made a new one, which nobody has run yet."""
    complaint = objection_for_head(context.view, Stage.TESTING)
    if complaint is not None:
        return Bound(context, digest("check_tests_pass")).failed(complaint)
    return ci.judge(context)
