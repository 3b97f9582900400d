"""Documents of a stage in the repository, ``docs/work-items/<ITEM>/``."""

from __future__ import annotations

from orchestrator.domain.stages import Stage
from orchestrator.domain.views import GateResult
from orchestrator.gates.agent_verdicts import objection, verdict_of
from orchestrator.gates.context import GateContext
from orchestrator.gates.results import Bound, digest, head_of, short


def judge(context: GateContext, stage: Stage) -> GateResult:
    """Pass when the agent says so and left at least one document of its stage that is not empty."""
    bound = Bound(context, digest("documents", stage))
    complaint = objection(context.view, stage)
    if complaint is not None:
        return bound.failed(complaint)
    folder = f"docs/work-items/{context.view.work_item}/"
    written = [path for path in _candidates(context, stage, folder) if _has_text(context, path)]
    if not written:
        where = f"{folder}{stage}.md"
        return bound.failed(f"no document of {stage} stands at {short(head_of(context))}: write it to {where}")
    return bound.passed(f"written: {', '.join(written)}")


def _candidates(context: GateContext, stage: Stage, folder: str) -> list[str]:
    """What the agent named as its documents, and files that carry the name of the stage."""
    named = {one.path for one in verdict_of(context.view, stage).artifacts if one.kind == "document"}
    files = context.ports.workspaces.list_files(head_of(context))
    return [
        path
        for path in files
        if path.startswith(folder) and (path in named or str(stage) in path.removeprefix(folder).lower())
    ]


def _has_text(context: GateContext, path: str) -> bool:
    content = context.ports.workspaces.read_file(head_of(context), path)
    return content is not None and bool(content.strip())
