"""Reads one consistent ``TaskView``. SELECT only."""

from __future__ import annotations

import json

from sqlalchemy import Connection, Row, text

from orchestrator.domain import verdicts
from orchestrator.domain.stages import Stage
from orchestrator.domain.verdicts import Verdict
from orchestrator.domain.views import (
    DeploymentStatus,
    DeploymentView,
    JobStatus,
    JobView,
    Outcome,
    Parked,
    Policy,
    StopRequest,
    TaskView,
)
from orchestrator.store import (
    card_moves,
    gate_results,
    ledger,
    nodes,
    provider_pauses,
    spending,
    stage_commits,
    switches,
)


def read(connection: Connection, task_id: int, policy: Policy, *, stop_enabled: bool = True) -> TaskView | None:
    """One snapshot of the task under the policy of its project; None when there is no such task.

    Call it inside ``Store.snapshot()``, or inside a transaction that holds the task's row lock.
    """
    row = connection.execute(text("SELECT * FROM tasks WHERE id = :t"), {"t": task_id}).one_or_none()
    if row is None:
        return None
    levers = switches.thrown(connection)
    return TaskView(
        task_id=row.id,
        work_item=row.work_item,
        project=row.project,
        title=row.title,
        stage=Stage(row.stage),
        stage_seq=row.stage_seq,
        lease_epoch=row.lease_epoch,
        round=row.round,
        generation=row.generation,
        priority=row.priority,
        created_at=row.created_at,
        facts_at=row.facts_at,
        branch=row.branch,
        head_sha=row.head_sha,
        pull_request=row.pull_request,
        merged_sha=row.merged_sha,
        stop=None if row.stop_requested_at is None else StopRequest(row.stop_requested_by, row.stop_requested_at),
        stop_acknowledged=row.stop_acknowledged_at is not None,
        stop_enabled=stop_enabled,
        parked=None if row.parked_at is None else Parked(row.parked_reason, row.parked_at),
        paused=tuple(one.scope for one in levers if one.name == "pause" and one.scope in ("*", row.project)),
        panic=any(one.name == "panic" for one in levers),
        approved_by=row.approved_by,
        rejected=None if row.rejected_by is None else f"rejected by {row.rejected_by}: {row.rejected_why}",
        blocked_by=_blockers(connection, row),
        serial_load=stage_commits.serial_load(connection, row.project, besides=row.id),
        project_runs=_project_runs(connection, row.project),
        counted_attempts=_counted_attempts(connection, row),
        roll_backs=_roll_backs(connection, task_id),
        retry_not_before=row.retry_not_before,
        job=_job(connection, row),
        gate_results=tuple(gate_results.of_round(connection, task_id, row.stage_seq, row.round)),
        effects=tuple(ledger.effects_of(connection, task_id)),
        deployments=_deployments(connection, task_id),
        policy=policy,
        spending=spending.of_task(connection, task_id, row.project),
        provider=provider_pauses.find(connection, policy.runtimes.get(Stage(row.stage))),
        card_move=card_moves.unanswered(connection, task_id),
        drained=nodes.all_drain(connection),
    )


def _blockers(connection: Connection, row: Row[tuple[object, ...]]) -> tuple[str, ...]:
    """Items that block this one and whose newest task is not terminal; an item without a task blocks as well."""
    rows = connection.execute(
        text(
            """SELECT b.item FROM unnest(CAST(:items AS text[])) AS b(item)
            LEFT JOIN LATERAL (SELECT stage FROM tasks t WHERE t.work_item = b.item ORDER BY id DESC LIMIT 1) t ON true
            WHERE t.stage IS NULL OR t.stage NOT IN ('done', 'cancelled') ORDER BY 1"""
        ),
        {"items": list(row.blocked_by)},
    )
    return tuple(str(one.item) for one in rows)


def _project_runs(connection: Connection, project: str) -> int:
    return int(
        connection.execute(
            text(
                """SELECT count(*) FROM jobs j JOIN tasks t ON t.id = j.task_id
                WHERE t.project = :p AND j.status = 'running' AND j.exited_at IS NULL"""
            ),
            {"p": project},
        ).scalar_one()
    )


def _counted_attempts(connection: Connection, row: Row[tuple[object, ...]]) -> int:
    return int(
        connection.execute(
            text("SELECT count(*) FROM jobs WHERE task_id = :t AND visit = :v AND counted"),
            {"t": row.id, "v": row.stage_seq},
        ).scalar_one()
    )


def _roll_backs(connection: Connection, task_id: int) -> int:
    return int(
        connection.execute(
            text(
                """SELECT count(*) FROM events WHERE task_id = :t AND kind = 'stage.committed'
                AND detail->>'to' = 'development' AND detail->>'from' <> 'architecture'"""
            ),
            {"t": task_id},
        ).scalar_one()
    )


def _job(connection: Connection, task: Row[tuple[object, ...]]) -> JobView | None:
    row = connection.execute(
        text("SELECT * FROM jobs WHERE task_id = :t AND visit = :v ORDER BY round DESC LIMIT 1"),
        {"t": task.id, "v": task.stage_seq},
    ).one_or_none()
    if row is None:
        return None
    return JobView(
        id=row.id,
        stage=Stage(row.stage),
        visit=row.visit,
        round=row.round,
        status=JobStatus(row.status),
        node=row.node,
        dispatched_at=row.dispatched_at,
        started_at=row.started_at,
        exited_at=row.exited_at,
        outcome=None if row.outcome is None else Outcome(row.outcome),
        verdict=_verdict(row.verdict),
        head_sha=row.head_sha,
        detail=row.detail,
        resume_at=row.resume_at,
    )


def _verdict(stored: object) -> Verdict | None:
    if not isinstance(stored, dict):
        return None
    read = verdicts.parse(json.dumps(stored).encode(), str(stored.get("run_id", "")))
    return read if isinstance(read, Verdict) else None


def _deployments(connection: Connection, task_id: int) -> tuple[DeploymentView, ...]:
    rows = connection.execute(
        text(
            """SELECT id, environment, visit, sha, status, previous_sha, observed_sha, detail
            FROM deployments WHERE task_id = :t AND kind = 'deploy' ORDER BY id"""
        ),
        {"t": task_id},
    )
    return tuple(DeploymentView(**{**row._mapping, "status": DeploymentStatus(row.status)}) for row in rows)
