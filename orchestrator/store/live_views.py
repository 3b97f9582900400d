"""What is going on now: held leases, live runs, and the whole of ``GET /queue``. SELECT only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString

from sqlalchemy import Connection, text

from orchestrator.store.owners import read_owner
from orchestrator.store.schema import LIVE_JOB, LIVE_STAGE


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A held transition lease. ``age_s``: seconds by the database's clock; ``child_pgid``: the command inside it."""

    task_id: int
    work_item: str
    edge: str
    actor: str
    epoch: int
    owner: str
    age_s: float
    child_pgid: int | None
    acquired_at: datetime


@dataclass(frozen=True, slots=True)
class RunRow:
    """A live job and its newest process. ``owner``: the shim's identity once it came up."""

    job_id: int
    work_item: str
    stage: str
    status: str
    node: str | None
    run_id: str | None
    turn: int | None
    runtime: str | None
    owner: str | None
    running_s: float | None
    exited_at: datetime | None


def live_leases(connection: Connection, task_id: int | None = None) -> list[LeaseRow]:
    """Held leases, oldest first: all, or that of one task."""
    rows = connection.execute(
        text(
            """SELECT l.*, t.work_item, extract(epoch FROM clock_timestamp() - l.acquired_at)::float AS age_s
            FROM transition_lease l JOIN tasks t ON t.id = l.task_id
            WHERE l.released_at IS NULL AND (CAST(:t AS bigint) IS NULL OR l.task_id = :t) ORDER BY l.acquired_at"""
        ),
        {"t": task_id},
    )
    return [
        LeaseRow(
            task_id=row.task_id,
            work_item=row.work_item,
            edge=row.edge,
            actor=row.actor,
            epoch=row.epoch,
            owner=str(read_owner(row)),
            age_s=row.age_s,
            child_pgid=row.child_pgid,
            acquired_at=row.acquired_at,
        )
        for row in rows
    ]


def live_runs(connection: Connection) -> list[RunRow]:
    """Queued and running jobs, oldest first, each with its newest run."""
    rows = connection.execute(
        text(
            f"""SELECT j.id AS job_id, t.work_item, j.stage, j.status, j.node, j.exited_at, r.run_id, r.turn, r.runtime,
              r.owner_node, r.owner_boot_id, r.owner_pid_ns, r.owner_pid, r.owner_start_ticks,
              extract(epoch FROM clock_timestamp() - j.started_at)::float AS running_s
            FROM jobs j JOIN tasks t ON t.id = j.task_id
            LEFT JOIN LATERAL (SELECT * FROM agent_runs WHERE job_id = j.id ORDER BY turn DESC LIMIT 1) r ON true
            WHERE j.{LIVE_JOB} ORDER BY j.id"""
        )
    )
    return [
        RunRow(
            job_id=row.job_id,
            work_item=row.work_item,
            stage=row.stage,
            status=row.status,
            node=row.node,
            run_id=row.run_id,
            turn=row.turn,
            runtime=row.runtime,
            owner=None if row.owner_pid is None else str(read_owner(row)),
            running_s=row.running_s,
            exited_at=row.exited_at,
        )
        for row in rows
    ]


def newest_event(connection: Connection) -> int:
    """Id of the newest event, 0 when there is none."""
    return int(connection.execute(text("SELECT coalesce(max(id), 0) FROM events")).scalar_one())


def changed_items(connection: Connection, after: int) -> tuple[int, list[str]]:
    """(newest event, the work items of all events behind ``after``)."""
    row = connection.execute(
        text(
            """SELECT coalesce(max(id), :a) AS newest,
              coalesce(array_agg(DISTINCT work_item) FILTER (WHERE work_item IS NOT NULL), '{}') AS items
            FROM events WHERE id > :a"""
        ),
        {"a": after},
    ).one()
    return int(row.newest), [str(one) for one in row.items]


def queue(connection: Connection, settings: Mapping[str, object] | None = None) -> dict[str, object]:
    """The state of everything that moves or waits, one key a part; ``settings`` are the switches of the environment."""
    counted = _counters(connection)
    return {
        "stages": _counts(connection, _STAGES),
        "jobs": _counts(connection, _JOBS),
        "agents": live_runs(connection),
        "reaper": {**_tick(connection, "reap"), "reaps": counted.get("reaps_total", {})},
        "reconciler": {**_tick(connection, "reconcile"), "deferrals": counted.get("lease_deferrals_total", {})},
        "transition_lease": live_leases(connection),
        "merge_lane": _rows(connection, _LANES),
        "stop": _rows(connection, _STOPS),
        "deploys": _rows(connection, _DEPLOYS),
        "inbox": _rows(connection, _INBOX)[0],
        "nodes": _rows(connection, _NODES),
        "switches": {"levers": _rows(connection, _LEVERS), "settings": dict(settings or {})},
        "finalizer_defers_total": sum(counted.get("finalizer_defers_total", {}).values()),
        "finalizer_owned": int(connection.execute(text(_OWNED)).scalar_one()),
    }


_STAGES: Final = f"SELECT stage, count(*) FROM tasks WHERE {LIVE_STAGE} GROUP BY stage ORDER BY stage"
_JOBS: Final = f"SELECT status, count(*) FROM jobs WHERE {LIVE_JOB} GROUP BY status ORDER BY status"
_LANES: Final = """SELECT m.project, m.base_branch, t.work_item, m.epoch, m.owner_node, m.owner_pid,
  m.released_at IS NULL AS held, extract(epoch FROM clock_timestamp() - m.acquired_at)::float AS age_s
  FROM merge_lease m JOIN tasks t ON t.id = m.task_id ORDER BY 1, 2"""
_STOPS: Final = f"""SELECT work_item, stage, stop_requested_by AS requested_by, stop_requested_at AS requested_at,
  reasons FROM tasks WHERE stop_requested_at IS NOT NULL
    AND ({LIVE_STAGE} OR (stage = 'cancelled' AND stop_acknowledged_at IS NULL)) ORDER BY stop_requested_at"""
_DEPLOYS: Final = """SELECT d.id, d.project, d.environment, d.kind, t.work_item, d.status, d.sha, d.requested_at,
  d.started_at FROM deployments d JOIN tasks t ON t.id = d.task_id
  WHERE d.status IN ('requested', 'running') ORDER BY d.id"""
_INBOX: Final = """SELECT count(*) AS unprocessed, count(*) FILTER (WHERE attempts > 0) AS failing,
  extract(epoch FROM clock_timestamp() - min(received_at))::float AS oldest_s,
  coalesce((array_agg(error ORDER BY id) FILTER (WHERE error <> ''))[1], '') AS error
  FROM inbox WHERE processed_at IS NULL"""
_NODES: Final = """SELECT node, incarnation, draining, registered_at, last_seen_at, lost_at,
  extract(epoch FROM clock_timestamp() - last_seen_at)::float AS silent_s FROM nodes ORDER BY node"""
_LEVERS: Final = "SELECT name, scope, set_by, reason, set_at FROM switches ORDER BY name, scope"
_OWNED: Final = """SELECT count(*) FROM jobs j JOIN transition_lease l ON l.task_id = j.task_id
  WHERE j.status = 'running' AND j.exited_at IS NOT NULL AND l.released_at IS NULL"""


def _rows(connection: Connection, statement: LiteralString) -> list[dict[str, object]]:
    return [dict(row._mapping) for row in connection.execute(text(statement))]


def _counts(connection: Connection, statement: LiteralString) -> dict[str, int]:
    return {str(row[0]): int(row[1]) for row in connection.execute(text(statement))}


def _tick(connection: Connection, name: str) -> dict[str, object]:
    row = connection.execute(
        text(
            """SELECT last_at, last_success_at, summary, last_error,
              extract(epoch FROM clock_timestamp() - last_at)::float AS age_s FROM ticks WHERE name = :n"""
        ),
        {"n": name},
    ).one_or_none()
    return {"last_at": None} if row is None else dict(row._mapping)


def _counters(connection: Connection) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for row in connection.execute(text("SELECT name, label, value FROM counters ORDER BY name, label")):
        found.setdefault(row.name, {})[row.label] = int(row.value)
    return found
