"""What a gate makes of an agent's verdict: a claim, good only for its own stage and for the head it was given on."""

from __future__ import annotations

from orchestrator.domain.decide import describe
from orchestrator.domain.errors import PermanentError
from orchestrator.domain.stages import Stage
from orchestrator.domain.verdicts import Verdict, VerdictKind
from orchestrator.domain.views import JobView, TaskView
from orchestrator.gates.results import short


def objection(view: TaskView, stage: Stage) -> str | None:
    """Why the verdict does not let the task pass, None when it does."""
    _job, verdict = _answered(view, stage)
    return None if verdict.kind is VerdictKind.PASS else describe(verdict)


def objection_for_head(view: TaskView, stage: Stage) -> str | None:
    """As ``objection``; also an answer that was given on another head than the one that is to go on."""
    job, _verdict = _answered(view, stage)
    complaint = objection(view, stage)
    if complaint is None and (job.head_sha is None or job.head_sha != view.head_sha):
        return f"the verdict of {stage} speaks of {short(job.head_sha)}, but the head is {short(view.head_sha)}"
    return complaint


def verdict_of(view: TaskView, stage: Stage) -> Verdict:
    """The verdict of the newest run of ``stage`` in this visit. Raises PermanentError when there is none."""
    return _answered(view, stage)[1]


def _answered(view: TaskView, stage: Stage) -> tuple[JobView, Verdict]:
    job = view.job
    if job is None or job.stage is not stage or job.verdict is None:
        raise PermanentError(f"there is no verdict of {stage} to judge")
    return job, job.verdict
