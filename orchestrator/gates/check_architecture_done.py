"""``check_architecture_done``: the architecture is decided and written down."""

from __future__ import annotations

from orchestrator.domain.stages import Stage
from orchestrator.domain.views import GateResult
from orchestrator.gates import documents
from orchestrator.gates.context import GateContext


def check(context: GateContext) -> GateResult:
    """Its agent says pass, and its document stands in the branch."""
    return documents.judge(context, Stage.ARCHITECTURE)
