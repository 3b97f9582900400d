"""``check_scope``: the change leaves alone what gates and deploys are configured by."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.images import recipe_paths
from orchestrator.domain.views import GateResult
from orchestrator.gates.context import GateContext
from orchestrator.gates.results import Bound, digest, head_of, listed


def check(context: GateContext) -> GateResult:
    """No protected path is changed, unless the repository allows it."""
    gates = context.repository.gates
    bound = Bound(context, digest("check_scope", gates.protected_paths, gates.allow_protected_changes))
    changed = context.ports.workspaces.changed_files(context.base_sha, head_of(context))
    touched = protected(changed, gates.protected_paths)
    if not touched:
        return bound.passed(f"none of {len(changed)} changed files is protected")
    if gates.allow_protected_changes:
        return bound.passed(f"protected files are changed, which this repository allows:\n{listed(touched)}")
    return bound.failed(
        f"these files decide on gates and deploys, and an agent must not change them:\n{listed(touched)}\n"
        "Take the change back; a person can make it on the base branch."
    )


def protected(paths: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Those of ``paths`` that a pattern covers. A folder's own name is covered too: a link put in its place would
    bring other files under it."""
    folders = [pattern.removesuffix("/**") for pattern in patterns if pattern.endswith("/**")]
    return recipe_paths(paths, (*patterns, *folders))
