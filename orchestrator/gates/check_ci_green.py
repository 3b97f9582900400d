"""``check_ci_green``: the tests of the head are green."""

from __future__ import annotations

from orchestrator.domain.views import GateResult
from orchestrator.gates import ci
from orchestrator.gates.context import GateContext


def check(context: GateContext) -> GateResult:
    """By the statuses of others, or by our own run; see ``ci``."""
    return ci.judge(context)
