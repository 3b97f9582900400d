"""What the checker reads beside the log: the rows of one task, as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString

from sqlalchemy import Connection, Row, text

from orchestrator.domain.ownership import Owner
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.domain.views import DeploymentStatus, EffectStatus, JobStatus
from orchestrator.store.owners import read_owner


@dataclass(frozen=True, slots=True)
class Step:
    """An entry into a stage. ``source`` is None for the first one; ``seq`` is the stage_seq it led to."""

    source: Stage | None
    target: Stage
    seq: int
    epoch: int
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class LedgerRow:
    id: int
    kind: EffectKind
    target: str
    visit: int
    status: EffectStatus
    epoch: int
    request: Mapping[str, str]
    result: Mapping[str, str]
    claimed_at: datetime
    sent_at: datetime | None
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeployRow:
    id: int
    environment: str
    kind: str
    visit: int
    sha: str
    status: DeploymentStatus
    observed_sha: str | None
    started_at: datetime | None


@dataclass(frozen=True, slots=True)
class WorkRow:
    """A job."""

    id: int
    stage: Stage
    visit: int
    status: JobStatus


@dataclass(frozen=True, slots=True)
class Trail:
    """Everything that is written down about one task. ``idle_s``: seconds since the last entry, or since the last
    decision gave its reasons, whichever is later; ``observed``: visits whose production deploy a gate saw answer."""

    task_id: int
    work_item: str
    project: str
    stage: Stage
    stage_seq: int
    lease_epoch: int
    branch: str
    pull_request: int | None
    merged_sha: str | None
    merged_by_hand: bool
    stop_acknowledged_at: datetime | None
    parked: bool
    reasons: tuple[str, ...]
    idle_s: float
    lease_owner: Owner | None
    lease_edge: str
    steps: tuple[Step, ...]
    effects: tuple[LedgerRow, ...]
    deployments: tuple[DeployRow, ...]
    jobs: tuple[WorkRow, ...]
    observed: frozenset[int]


_TASKS: Final = """SELECT t.*, l.edge AS lease_edge, l.owner_node, l.owner_boot_id, l.owner_pid_ns, l.owner_pid,
    l.owner_start_ticks, extract(epoch FROM clock_timestamp() - greatest(t.stage_entered_at, t.reasons_at))::float
    AS idle_s
  FROM tasks t LEFT JOIN transition_lease l ON l.task_id = t.id AND l.released_at IS NULL ORDER BY t.id"""
_STEPS: Final = """SELECT task_id, detail->>'from' AS source, detail->>'to' AS target, stage_seq AS seq, epoch, actor,
  at FROM events WHERE kind IN ('task.created', 'stage.committed') AND task_id IS NOT NULL ORDER BY id"""
_EFFECTS: Final = """SELECT task_id, id, kind, target, visit, status, epoch, request, result, claimed_at, sent_at,
  settled_at FROM effects ORDER BY id"""
_DEPLOYMENTS: Final = """SELECT task_id, id, environment, kind, visit, sha, status, observed_sha, started_at
  FROM deployments ORDER BY id"""
_JOBS: Final = "SELECT task_id, id, stage, visit, status FROM jobs ORDER BY id"
_OBSERVED: Final = """SELECT DISTINCT task_id, visit FROM gate_results
  WHERE gate = 'check_deploy_observed' AND outcome = 'pass'"""


def trails(connection: Connection) -> list[Trail]:
    """Every task with its rows, oldest first. Read it in one snapshot."""
    steps = _by_task(connection, _STEPS)
    ledger = _by_task(connection, _EFFECTS)
    deploys = _by_task(connection, _DEPLOYMENTS)
    jobs = _by_task(connection, _JOBS)
    observed = _by_task(connection, _OBSERVED)
    return [
        Trail(
            task_id=row.id,
            work_item=row.work_item,
            project=row.project,
            stage=Stage(row.stage),
            stage_seq=row.stage_seq,
            lease_epoch=row.lease_epoch,
            branch=row.branch,
            pull_request=row.pull_request,
            merged_sha=row.merged_sha,
            merged_by_hand=row.merged_by_hand,
            stop_acknowledged_at=row.stop_acknowledged_at,
            parked=row.parked_at is not None,
            reasons=tuple(str(one) for one in row.reasons),
            idle_s=row.idle_s,
            lease_owner=read_owner(row),
            lease_edge=row.lease_edge or "",
            steps=tuple(map(_step, steps.get(row.id, ()))),
            effects=tuple(map(_effect, ledger.get(row.id, ()))),
            deployments=tuple(map(_deployment, deploys.get(row.id, ()))),
            jobs=tuple(map(_job, jobs.get(row.id, ()))),
            observed=frozenset(int(one.visit) for one in observed.get(row.id, ())),
        )
        for row in connection.execute(text(_TASKS))
    ]


_AnyRow = Row[tuple[object, ...]]


def _by_task(connection: Connection, statement: LiteralString) -> dict[int, list[_AnyRow]]:
    found: dict[int, list[_AnyRow]] = {}
    rows: Iterable[_AnyRow] = connection.execute(text(statement))
    for row in rows:
        found.setdefault(row.task_id, []).append(row)
    return found


def _step(row: _AnyRow) -> Step:
    source = None if row.source is None else Stage(row.source)
    return Step(source, Stage(row.target), row.seq, row.epoch, row.actor, row.at)


def _effect(row: _AnyRow) -> LedgerRow:
    values = {**row._mapping, "kind": EffectKind(row.kind), "status": EffectStatus(row.status)}
    values.pop("task_id")
    return LedgerRow(**values)


def _deployment(row: _AnyRow) -> DeployRow:
    values = {**row._mapping, "status": DeploymentStatus(row.status)}
    values.pop("task_id")
    return DeployRow(**values)


def _job(row: _AnyRow) -> WorkRow:
    return WorkRow(row.id, Stage(row.stage), row.visit, JobStatus(row.status))
