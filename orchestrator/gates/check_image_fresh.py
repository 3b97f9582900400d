"""``check_image_fresh``: whether the image must be built again. Stale is no fail: it is rebuilt before the merge."""

from __future__ import annotations

from typing import Final

from orchestrator.domain import images
from orchestrator.domain.views import GateResult
from orchestrator.gates.context import GateContext
from orchestrator.gates.merge_results import candidate_of
from orchestrator.gates.results import Bound, digest, short
from orchestrator.store import images as built

NAME: Final = "check_image_fresh"


def check(context: GateContext) -> GateResult:
    """Whether an image was ever built from what the merge result's recipe names."""
    recipe = context.repository.image
    config = digest(NAME, repr(recipe))
    if recipe is None:
        return Bound(context, config).passed("no image is configured")
    candidate = candidate_of(context, config)
    if isinstance(candidate, GateResult):
        return candidate
    bound = Bound(context, config, candidate.tree_sha)
    wanted = images.digest_at(context.ports.workspaces, candidate.commit_sha, recipe)
    with context.store.transaction() as connection:
        tag = built.newest_tag(connection, context.view.project, wanted)
    if tag is None:
        return bound.passed(f"stale: will be rebuilt, no image of the recipe {short(wanted)} was built yet")
    return bound.passed(f"fresh: {tag} was built from the recipe {short(wanted)}")
