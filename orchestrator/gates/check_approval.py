"""``check_approval``: a person approved, where one must."""

from __future__ import annotations

from typing import Final, assert_never

from orchestrator.domain.configuration import Approval
from orchestrator.domain.views import GateResult
from orchestrator.gates.context import GateContext
from orchestrator.gates.results import Bound, digest

_RETRY_S: Final = 3600.0
"""An approval is a fact and wakes the task at once; this is only for what was lost."""


def check(context: GateContext) -> GateResult:
    """Pass naming who approved; wait until somebody does."""
    view = context.view
    bound = Bound(context, digest("check_approval", view.policy.approval))
    match view.policy.approval:
        case Approval.NONE:
            return bound.passed("no approval is required")
        case Approval.REQUIRED if view.approved_by:
            return bound.passed(f"approved by {view.approved_by}")
        case Approval.REQUIRED:
            return bound.waits(f"needs approval: orch approve {view.work_item}", _RETRY_S)
        case _:
            assert_never(view.policy.approval)
