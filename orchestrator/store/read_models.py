"""What people and programs are shown of work items: SELECT only, frozen values.

The live side (leases, runs, ``GET /queue``) is in ``live_views``, the figures of ``GET /metrics`` in ``figures``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, Row, text

from orchestrator.domain.deaths import Death, death_of
from orchestrator.domain.stages import Stage, is_terminal
from orchestrator.store import tasks
from orchestrator.store.live_views import LeaseRow, changed_items, live_leases, live_runs, newest_event, queue
from orchestrator.store.owners import read_owner
from orchestrator.store.schema import LIVE_JOB, LIVE_STAGE

__all__ = [
    "ItemPage",
    "ItemRow",
    "ItemState",
    "board",
    "changed_items",
    "item",
    "item_effects",
    "item_events",
    "live_leases",
    "live_runs",
    "newest_event",
    "plain",
    "queue",
]

ENDED_ON_BOARD: Final = 50
"""How many finished items the board still shows: enough for today, and it stays one screen."""


class ItemState(StrEnum):
    """What a work item is doing now, in one word."""

    WORKING = "working"
    WAITING = "waiting"
    PARKED = "parked"
    BLOCKED = "blocked"
    STOPPING = "stopping"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One line of the board. ``since``: when ``state`` began; ``reasons``: all, why it does not move, or what works."""

    task_id: int
    work_item: str
    project: str
    title: str
    stage: Stage
    state: ItemState
    priority: int
    since: datetime
    reasons: tuple[str, ...]
    pull_request: int | None


@dataclass(frozen=True, slots=True)
class RunOfJob:
    """One process that tried a job; ``turn`` 1 is the repair turn."""

    run_id: str
    turn: int
    runtime: str
    node: str
    owner: str | None
    started_at: datetime
    exited_at: datetime | None
    exit_code: int | None
    exit_reason: str | None


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job of the task, of any visit."""

    id: int
    stage: Stage
    visit: int
    round: int
    status: str
    node: str | None
    outcome: str | None
    verdict: Mapping[str, object] | None
    detail: str
    created_at: datetime
    started_at: datetime | None
    exited_at: datetime | None
    finished_at: datetime | None
    runs: tuple[RunOfJob, ...]


@dataclass(frozen=True, slots=True)
class GateRow:
    """What a gate said. ``reused``: the same tree under the same configuration had passed before."""

    gate: str
    outcome: str
    evidence: str
    visit: int
    round: int
    head_sha: str | None
    base_sha: str | None
    tree_sha: str | None
    reused: bool
    duration_s: float
    at: datetime


@dataclass(frozen=True, slots=True)
class EffectRow:
    """A row of the ledger. ``sends`` counts how often it left for its target."""

    id: int
    kind: str
    target: str
    status: str
    visit: int
    epoch: int
    actor: str
    sends: int
    adoptions: int
    request: Mapping[str, object]
    result: Mapping[str, object]
    claimed_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeploymentRow:
    """A deployment or roll back that the task asked for."""

    id: int
    environment: str
    kind: str
    status: str
    sha: str
    previous_sha: str | None
    observed_sha: str | None
    detail: str
    requested_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class EventRow:
    """One line of history."""

    id: int
    kind: str
    actor: str
    stage_seq: int | None
    epoch: int | None
    detail: Mapping[str, object]
    at: datetime


@dataclass(frozen=True, slots=True)
class StopRow:
    """The STOP of a task: who asked, what was seen and done for it, and when people were told.

    ``proof`` is all of it, a line each, and the others are its parts: ``deaths`` of processes, what had ``landed`` and
    stays, and what was ``refused``, taken back or kept from then on.
    """

    requested_by: str | None
    requested_at: datetime | None
    acknowledged_at: datetime | None
    proof: tuple[str, ...]
    deaths: tuple[Death, ...] = ()
    landed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Everything about the live (else the newest) task of a work item."""

    row: ItemRow
    body: str
    author: str
    branch: str
    stage_seq: int
    round: int
    lease_epoch: int
    head_sha: str | None
    merged_sha: str | None
    merged_by_hand: bool
    blocked_by: tuple[str, ...]
    approved_by: str | None
    rejected_by: str | None
    rejected_why: str | None
    reasons_until: datetime | None
    created_at: datetime
    stage_entered_at: datetime
    passages: int
    lease: LeaseRow | None
    stop: StopRow | None
    jobs: tuple[JobRow, ...]
    gates: tuple[GateRow, ...]
    effects: tuple[EffectRow, ...]
    deployments: tuple[DeploymentRow, ...]


_ROW: Final = f"""SELECT t.*, j.status AS job_status, j.node AS job_node, j.started_at AS job_started_at,
    j.exited_at AS job_exited_at, l.edge AS lease_edge, l.actor AS lease_actor, l.acquired_at AS lease_acquired_at,
    ARRAY(SELECT b.item FROM unnest(t.blocked_by) AS b(item) LEFT JOIN LATERAL (
        SELECT stage FROM tasks o WHERE o.work_item = b.item ORDER BY id DESC LIMIT 1) o ON true
      WHERE o.stage IS NULL OR o.{LIVE_STAGE} ORDER BY 1) AS open_blockers
  FROM tasks t
  LEFT JOIN jobs j ON j.task_id = t.id AND j.{LIVE_JOB}
  LEFT JOIN transition_lease l ON l.task_id = t.id AND l.released_at IS NULL"""


def board(connection: Connection, ended: int = ENDED_ON_BOARD) -> list[ItemRow]:
    """Live items by priority, then oldest first; then the ``ended`` newest finished ones."""
    rows = connection.execute(
        text(
            f"""WITH chosen AS (
              SELECT id FROM tasks WHERE {LIVE_STAGE}
              UNION ALL
              (SELECT id FROM tasks t WHERE NOT ({LIVE_STAGE}) AND NOT EXISTS (
                SELECT FROM tasks n WHERE n.work_item = t.work_item AND n.id > t.id) ORDER BY id DESC LIMIT :ended))
            {_ROW} JOIN chosen ON chosen.id = t.id
            ORDER BY (t.{LIVE_STAGE}) DESC, CASE WHEN t.{LIVE_STAGE} THEN t.priority END DESC,
              CASE WHEN t.{LIVE_STAGE} THEN t.created_at END, t.id DESC"""
        ),
        {"ended": ended},
    )
    return [_item_row(row) for row in rows]


def _item_row(row: Row[tuple[object, ...]]) -> ItemRow:
    state = _state(row)
    return ItemRow(
        task_id=row.id,
        work_item=row.work_item,
        project=row.project,
        title=row.title,
        stage=Stage(row.stage),
        state=state,
        priority=row.priority,
        since=_since(row, state),
        reasons=_reasons(row, state),
        pull_request=row.pull_request,
    )


def _state(row: Row[tuple[object, ...]]) -> ItemState:
    told = row.stage == Stage.DONE or row.stop_acknowledged_at is not None
    if is_terminal(Stage(row.stage)) and told:
        return ItemState(row.stage)
    if row.stop_requested_at is not None or is_terminal(Stage(row.stage)):
        return ItemState.STOPPING
    if row.parked_at is not None:
        return ItemState.PARKED
    if row.lease_edge is not None or row.job_started_at is not None:
        return ItemState.WORKING
    return ItemState.BLOCKED if row.open_blockers else ItemState.WAITING


def _since(row: Row[tuple[object, ...]], state: ItemState) -> datetime:
    moments: dict[ItemState, datetime | None] = {
        ItemState.STOPPING: row.stop_requested_at,
        ItemState.PARKED: row.parked_at,
        ItemState.WORKING: row.lease_acquired_at or row.job_started_at,
    }
    found: datetime = moments.get(state) or row.stage_entered_at
    return found


def _reasons(row: Row[tuple[object, ...]], state: ItemState) -> tuple[str, ...]:
    """The reasons of the last decision; while an owner is inside they are those of before, so it stands first."""
    if state is ItemState.PARKED:
        return (f"parked: {row.parked_reason}",)
    inside = () if row.lease_edge is None else (f"{row.lease_actor} is inside {row.lease_edge}",)
    told = tuple(str(one) for one in row.reasons)
    stale = row.lease_edge is not None and (row.reasons_at is None or row.reasons_at < row.lease_acquired_at)
    return inside if stale else (*inside, *told)


def item(connection: Connection, work_item: str) -> ItemPage | None:
    """Everything about a work item; None when no task of it was ever started."""
    ref = tasks.find(connection, work_item)
    if ref is None:
        return None
    row = connection.execute(text(f"{_ROW} WHERE t.id = :t"), {"t": ref.id}).one()
    return ItemPage(
        row=_item_row(row),
        body=row.body,
        author=row.author,
        branch=row.branch,
        stage_seq=row.stage_seq,
        round=row.round,
        lease_epoch=row.lease_epoch,
        head_sha=row.head_sha,
        merged_sha=row.merged_sha,
        merged_by_hand=row.merged_by_hand,
        blocked_by=tuple(row.open_blockers),
        approved_by=row.approved_by,
        rejected_by=row.rejected_by,
        rejected_why=row.rejected_why,
        reasons_until=row.reasons_until,
        created_at=row.created_at,
        stage_entered_at=row.stage_entered_at,
        passages=_passages(connection, work_item),
        lease=next(iter(live_leases(connection, ref.id)), None),
        stop=_stop(connection, row),
        jobs=_jobs(connection, ref.id),
        gates=_gates(connection, ref.id),
        effects=tuple(_effects(connection, ref.id)),
        deployments=_deployments(connection, ref.id),
    )


def _passages(connection: Connection, work_item: str) -> int:
    count = text("SELECT count(*) FROM tasks WHERE work_item = :w")
    return int(connection.execute(count, {"w": work_item}).scalar_one())


def _stop(connection: Connection, row: Row[tuple[object, ...]]) -> StopRow | None:
    if row.stop_requested_at is None:
        return None
    proof = tuple(tasks.stop_proof(connection, row.id))
    deaths = {line: death for line in proof if (death := death_of(line)) is not None}
    return StopRow(
        row.stop_requested_by,
        row.stop_requested_at,
        row.stop_acknowledged_at,
        proof,
        deaths=tuple(deaths.values()),
        landed=_landed(connection, row),
        refused=tuple(line for line in proof if line not in deaths),
    )


def _landed(connection: Connection, row: Row[tuple[object, ...]]) -> tuple[str, ...]:
    merged = () if row.merged_sha is None else (f"merged as {row.merged_sha[:12]}",)
    deploys = (one for one in _deployments(connection, row.id) if one.status in ("running", "succeeded"))
    return (*merged, *(f"{one.kind} of {one.sha[:12]} to {one.environment}: {one.status}" for one in deploys))


def _jobs(connection: Connection, task_id: int) -> tuple[JobRow, ...]:
    runs = connection.execute(
        text(
            """SELECT r.* FROM agent_runs r JOIN jobs j ON j.id = r.job_id WHERE j.task_id = :t
            ORDER BY r.job_id, r.turn"""
        ),
        {"t": task_id},
    ).all()
    rows = connection.execute(text("SELECT * FROM jobs WHERE task_id = :t ORDER BY id"), {"t": task_id})
    return tuple(
        JobRow(
            id=row.id,
            stage=Stage(row.stage),
            visit=row.visit,
            round=row.round,
            status=row.status,
            node=row.node,
            outcome=row.outcome,
            verdict=row.verdict,
            detail=row.detail,
            created_at=row.created_at,
            started_at=row.started_at,
            exited_at=row.exited_at,
            finished_at=row.finished_at,
            runs=tuple(_run(run) for run in runs if run.job_id == row.id),
        )
        for row in rows
    )


def _run(row: Row[tuple[object, ...]]) -> RunOfJob:
    owner = read_owner(row)
    return RunOfJob(
        run_id=row.run_id,
        turn=row.turn,
        runtime=row.runtime,
        node=row.node,
        owner=None if owner is None else str(owner),
        started_at=row.started_at,
        exited_at=row.exited_at,
        exit_code=row.exit_code,
        exit_reason=row.exit_reason,
    )


def _gates(connection: Connection, task_id: int) -> tuple[GateRow, ...]:
    rows = connection.execute(
        text(
            """SELECT gate, outcome, evidence, visit, round, head_sha, base_sha, tree_sha, reused, duration_s, at
            FROM gate_results WHERE task_id = :t ORDER BY id"""
        ),
        {"t": task_id},
    )
    return tuple(GateRow(**row._mapping) for row in rows)


def _effects(connection: Connection, task_id: int) -> Sequence[EffectRow]:
    rows = connection.execute(
        text(
            """SELECT id, kind, target, status, visit, epoch, actor, sends, adoptions, request, result, claimed_at,
              settled_at FROM effects WHERE task_id = :t ORDER BY id"""
        ),
        {"t": task_id},
    )
    return [EffectRow(**row._mapping) for row in rows]


def _deployments(connection: Connection, task_id: int) -> tuple[DeploymentRow, ...]:
    rows = connection.execute(
        text(
            """SELECT id, environment, kind, status, sha, previous_sha, observed_sha, detail, requested_at, finished_at
            FROM deployments WHERE task_id = :t ORDER BY id"""
        ),
        {"t": task_id},
    )
    return tuple(DeploymentRow(**row._mapping) for row in rows)


def item_events(connection: Connection, work_item: str, after_id: int = 0, limit: int = 500) -> list[EventRow]:
    """History of all tasks of a work item, oldest first, from behind ``after_id``; without the ends of leases, which
    come with every look at a task and tell only the audit something."""
    rows = connection.execute(
        text(
            """SELECT id, kind, actor, stage_seq, epoch, detail, at FROM events
            WHERE work_item = :w AND id > :a AND kind <> 'lease.ended' ORDER BY id LIMIT :n"""
        ),
        {"w": work_item, "a": after_id, "n": limit},
    )
    return [EventRow(**row._mapping) for row in rows]


def item_effects(connection: Connection, work_item: str) -> list[EffectRow]:
    """The ledger of the work item's live (else newest) task, oldest first."""
    ref = tasks.find(connection, work_item)
    return [] if ref is None else list(_effects(connection, ref.id))


def plain(value: object) -> object:
    """``value`` as what JSON can say: dataclasses and mappings as objects, times as ISO 8601 text."""
    match value:
        case datetime():
            return value.isoformat()
        case StrEnum():
            return str(value)
        case Mapping():
            return {str(key): plain(one) for key, one in value.items()}
        case list() | tuple():
            return [plain(one) for one in value]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        case _:
            return value
