"""A snapshot of a task with nothing in it, and a job that nobody has started, to be changed by ``replace``."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.domain.configuration import Approval, Limits, OnDeployFailure
from orchestrator.domain.stages import Stage
from orchestrator.domain.views import JobStatus, JobView, Policy, TaskView

EMPTY_VIEW = TaskView(
    task_id=1,
    work_item="D-1",
    project="D",
    title="t",
    stage=Stage.DEVELOPMENT,
    stage_seq=1,
    lease_epoch=1,
    round=0,
    generation=0,
    priority=0,
    created_at=datetime(2025, 1, 1, tzinfo=UTC),
    facts_at=datetime(2025, 1, 1, tzinfo=UTC),
    branch="orch/D-1",
    head_sha=None,
    pull_request=None,
    merged_sha=None,
    stop=None,
    stop_enabled=True,
    stop_acknowledged=False,
    parked=None,
    paused=(),
    panic=False,
    approved_by=None,
    rejected=None,
    blocked_by=(),
    serial_load=0,
    project_runs=0,
    counted_attempts=0,
    roll_backs=0,
    retry_not_before=None,
    job=None,
    gate_results=(),
    effects=(),
    deployments=(),
    policy=Policy(Approval.NONE, OnDeployFailure.PARK, 1, Limits(), frozenset()),
)

QUEUED_JOB = JobView(
    id=7,
    stage=Stage.REVIEW,
    visit=0,
    round=0,
    status=JobStatus.QUEUED,
    node=None,
    dispatched_at=None,
    started_at=None,
    exited_at=None,
    outcome=None,
    verdict=None,
    head_sha=None,
)
