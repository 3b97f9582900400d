"""``check_authorised``: whoever wrote the work item may have agents work for him."""

from __future__ import annotations

from orchestrator.domain.errors import NotFoundError
from orchestrator.domain.views import GateResult
from orchestrator.gates.context import GateContext
from orchestrator.gates.results import Bound, digest


def check(context: GateContext) -> GateResult:
    """The author, as the tracker names him now, is one of the trusted ones. An empty list trusts everybody."""
    trusted = context.ports.config.trusted_authors
    bound = Bound(context, digest("check_authorised", trusted))
    if not trusted:
        return bound.passed("every author is trusted in this project")
    try:
        author = context.ports.tracker.work_item(context.view.work_item).author
    except NotFoundError:
        return bound.failed(f"{context.view.work_item} is no longer in the tracker")
    if author in trusted:
        return bound.passed(f"{author} is trusted")
    return bound.failed(
        f"{author or 'an author without a name'} is not one of the trusted authors of {context.view.project}; "
        "add the name to trusted_authors in orchestrator.yml, or let a trusted author write the item"
    )
