"""What the audit holds against the outside: rows that name a commit, a branch, a process, a version, or a delivery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, text

from orchestrator.domain.ownership import Owner, Probe
from orchestrator.domain.stages import EffectKind
from orchestrator.domain.views import EffectStatus
from orchestrator.store import lease_history
from orchestrator.store.audit.scope import NAME, OVER, TASKS, Scope
from orchestrator.store.owners import read_owner
from orchestrator.store.schema import LIVE_JOB


@dataclass(frozen=True, slots=True)
class Merge:
    """A merge of the ledger. ``name`` says which row it is."""

    task_id: int
    work_item: str
    visit: int
    status: EffectStatus
    name: str
    request: Mapping[str, str]
    result: Mapping[str, str]
    settled_at: datetime | None

    @property
    def confirmed(self) -> bool:
        return self.status is EffectStatus.CONFIRMED


def merges(connection: Connection, scope: Scope, project: str) -> list[Merge]:
    """The merges of a project's tasks, oldest first."""
    rows = _rows(
        connection,
        f"""SELECT e.task_id, t.work_item, e.visit, e.status, {NAME} AS name, e.request, e.result, e.settled_at
        FROM effect e JOIN audited t ON t.id = e.task_id
        WHERE e.kind = '{EffectKind.MERGE_PR}' AND t.project = :project ORDER BY e.id""",
        scope,
        project=project,
    )
    return [Merge(**{**row._mapping, "status": EffectStatus(row.status)}) for row in rows]


@dataclass(frozen=True, slots=True)
class Ended:
    """A task that is over and left nothing behind. ``keeps_branch``: a person pushed to it, so it was not deleted."""

    work_item: str
    branch: str
    stage: str
    keeps_branch: bool


def ended(connection: Connection, scope: Scope, project: str) -> list[Ended]:
    """The tasks of a project that are over, whose branch no live task works on."""
    rows = _rows(
        connection,
        f"""SELECT t.work_item, t.branch, t.stage, coalesce(bool_or(e.status = 'refused' OR e.result ? 'kept'), false)
          AS keeps_branch
        FROM audited t LEFT JOIN effects e ON e.task_id = t.id AND e.kind = '{EffectKind.DELETE_BRANCH}'
        WHERE t.project = :project AND t.stage IN {OVER} AND (t.stage = 'done' OR t.stop_acknowledged_at IS NOT NULL)
          AND NOT EXISTS (SELECT FROM tasks o WHERE o.branch = t.branch AND o.stage NOT IN {OVER})
        GROUP BY t.id, t.work_item, t.branch, t.stage ORDER BY t.id""",
        scope,
        project=project,
    )
    return [Ended(**row._mapping) for row in rows]


def names(connection: Connection, scope: Scope, project: str) -> dict[int, str]:
    """Work item by task id, of a project's tasks."""
    rows = _rows(connection, "SELECT id, work_item FROM audited WHERE project = :project", scope, project=project)
    return {int(row.id): str(row.work_item) for row in rows}


def projects(connection: Connection, scope: Scope) -> list[str]:
    return [str(row.project) for row in _rows(connection, "SELECT DISTINCT project FROM audited ORDER BY 1", scope)]


def counts(connection: Connection, scope: Scope) -> tuple[int, int]:
    """(tasks, effects) in scope."""
    sql = "SELECT (SELECT count(*) FROM audited) AS tasks, (SELECT count(*) FROM effect) AS effects"
    [row] = _rows(connection, sql, scope)
    return int(row.tasks), int(row.effects)


@dataclass(frozen=True, slots=True)
class Held:
    """Something that a process holds. ``what`` names it with its times."""

    work_item: str | None
    what: str
    owner: Owner


def held(connection: Connection, scope: Scope) -> list[Held]:
    """Leases, merge lanes and running deployments, with the process that has each."""
    return _held(
        connection,
        scope,
        """SELECT t.work_item, format('its lease in %s (epoch %s, since %s)', l.edge, l.epoch, l.acquired_at) AS what,
            l.owner_node, l.owner_boot_id, l.owner_pid_ns, l.owner_pid, l.owner_start_ticks
          FROM transition_lease l JOIN audited t ON t.id = l.task_id WHERE l.released_at IS NULL
        UNION ALL
        SELECT t.work_item, format('the merge lane %s/%s (epoch %s, since %s)', m.project, m.base_branch, m.epoch,
            m.acquired_at), m.owner_node, m.owner_boot_id, m.owner_pid_ns, m.owner_pid, m.owner_start_ticks
          FROM merge_lease m JOIN audited t ON t.id = m.task_id WHERE m.released_at IS NULL
        UNION ALL
        SELECT t.work_item, format('running deployment %s to %s (since %s)', d.id, d.environment, d.started_at),
            d.owner_node, d.owner_boot_id, d.owner_pid_ns, d.owner_pid, d.owner_start_ticks
          FROM deployments d JOIN audited t ON t.id = d.task_id WHERE d.status = 'running'""",
    )


def ended_runs(connection: Connection, scope: Scope, here: Probe) -> list[Held]:
    """Agent runs of this node and boot whose job is over."""
    return _held(
        connection,
        scope,
        f"""SELECT t.work_item, format('run %s of job %s, %s since %s', r.run_id, j.id, j.status,
            j.finished_at) AS what,
            r.owner_node, r.owner_boot_id, r.owner_pid_ns, r.owner_pid, r.owner_start_ticks
          FROM agent_runs r JOIN jobs j ON j.id = r.job_id JOIN audited t ON t.id = j.task_id
          WHERE NOT j.{LIVE_JOB} AND r.owner_node = :node AND r.owner_boot_id = :boot""",
        node=here.node,
        boot=here.boot_id,
    )


def overtaken(connection: Connection, here: Probe) -> list[Held]:
    """Owners of this node and boot whose lease another took because they were proven dead."""
    return [
        Held(one.work_item, f"its lease in {one.edge} (epoch {one.epoch}; event {one.event})", one.owner)
        for one in lease_history.overtaken_on(connection, here)
        if one.how == "taken"
    ]


def node_is_lost(connection: Connection, node: str) -> bool:
    """Whether the node is declared lost now: others count as dead what may still run there."""
    sql = text("SELECT 1 FROM nodes WHERE node = :n AND lost_at IS NOT NULL")
    return connection.execute(sql, {"n": node}).first() is not None


@dataclass(frozen=True, slots=True)
class Deployed:
    """The version that was last seen to answer in an environment, and how it came there."""

    environment: str
    deployment: int
    work_item: str
    sha: str
    finished_at: datetime


def deployed(connection: Connection, project: str) -> list[Deployed]:
    """What should answer in each environment of a project where nothing is on its way."""
    rows = connection.execute(
        text(
            """SELECT DISTINCT ON (d.environment) d.environment, d.id AS deployment, t.work_item, d.sha, d.finished_at
            FROM deployments d JOIN tasks t ON t.id = d.task_id
            WHERE d.project = :p AND d.status IN ('succeeded', 'rolled_back') AND NOT EXISTS (SELECT FROM deployments o
              WHERE o.project = d.project AND o.environment = d.environment
                AND (o.status IN ('requested', 'running') OR (o.status = 'failed' AND o.finished_at > d.finished_at)))
            ORDER BY d.environment, d.finished_at DESC, d.id DESC"""
        ),
        {"p": project},
    )
    return [Deployed(**row._mapping) for row in rows]


_AnyRow = Row[tuple[object, ...]]


def _rows(connection: Connection, sql: str, scope: Scope, **values: object) -> list[_AnyRow]:
    statement = text(f"WITH {TASKS} {sql}")  # constants of this package
    return list(connection.execute(statement, {"item": scope.item, "since": scope.since, **values}))


def _held(connection: Connection, scope: Scope, sql: str, **values: object) -> list[Held]:
    found = [(row, read_owner(row)) for row in _rows(connection, sql, scope, **values)]
    return [Held(row.work_item, row.what, owner) for row, owner in found if owner is not None]
