"""``check_authorised``: whoever wrote the work item may have agents work for him, and somebody let it be worked on."""

from __future__ import annotations

from orchestrator.domain.authorisation import not_authorised
from orchestrator.domain.errors import NotFoundError
from orchestrator.domain.views import GateResult
from orchestrator.gates.context import GateContext
from orchestrator.gates.results import Bound, digest


def check(context: GateContext) -> GateResult:
    """Author and labels, as the tracker tells them now. Empty lists trust everybody and ask for no label."""
    config = context.ports.config
    bound = Bound(context, digest("check_authorised", (config.trusted_authors, config.authorising_labels)))
    if not (config.trusted_authors or config.authorising_labels):
        return bound.passed("every author is trusted in this project")
    try:
        item = context.ports.tracker.work_item(context.view.work_item)
    except NotFoundError:
        return bound.failed(f"{context.view.work_item} is no longer in the tracker")
    why = not_authorised(config, item)
    return bound.failed(why) if why else bound.passed(f"{item.author or 'its author'} is trusted")
