"""The merge that the gates of the lane judge."""

from __future__ import annotations

from orchestrator.domain.errors import PermanentError
from orchestrator.domain.views import GateResult
from orchestrator.gates.context import GateContext
from orchestrator.gates.results import Bound, listed
from orchestrator.ports import MergeCandidate


def candidate_of(context: GateContext, config_digest: str) -> MergeCandidate | GateResult:
    """The merge of base and head, or the fail that names the files in conflict. Raises PermanentError outside the
    lane, where nobody built one."""
    if context.candidate is not None:
        return context.candidate
    if context.conflict is None:
        raise PermanentError("no merge of base and head was built: this gate judges one")
    base = context.ports.config.base_branch
    return Bound(context, config_digest).failed(
        f"{base} and {context.view.branch} change the same lines of:\n{listed(list(context.conflict.files))}\n"
        f"Merge {base} into the branch and resolve them."
    )
