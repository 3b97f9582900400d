"""``check_review_verdict``: a review passed this very head."""

from __future__ import annotations

from orchestrator.domain.stages import Stage
from orchestrator.domain.views import GateResult
from orchestrator.gates.agent_verdicts import objection_for_head
from orchestrator.gates.context import GateContext
from orchestrator.gates.results import Bound, digest, short


def check(context: GateContext) -> GateResult:
    """The reviewer says pass, of the head that is to go on."""
    bound = Bound(context, digest("check_review_verdict"))
    complaint = objection_for_head(context.view, Stage.REVIEW)
    if complaint is not None:
        return bound.failed(complaint)
    return bound.passed(f"the review passed {short(context.view.head_sha)}")
