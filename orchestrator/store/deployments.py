"""Deployment rows: the key by which a deploy starts once, and where its end is written.

``requested -> running`` is won by the detached deployer, ``requested -> revoked`` by who takes the wish back: both are
one conditional update of one row, so exactly one of them happens. ``running`` ends once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg.errors import UniqueViolation
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError

from orchestrator.domain.ownership import Committed, LostRace, Owner
from orchestrator.domain.views import DeploymentStatus
from orchestrator.store.owners import owner_values, read_owner
from orchestrator.store.schema import OWNER_FIELDS
from orchestrator.store.texts import storable

DEPLOY: Final = "deploy"
ROLL_BACK: Final = "roll_back"
PRODUCTION: Final = "production"
OCCUPIED: Final = "another deployment is running in this environment"
"""``LostRace.why`` of a deployer that may try again once the environment is free."""

_LONGEST_DETAIL: Final = 4000
_ONE_RUNNING: Final = "one_running_deployment_an_environment"
_SELECT: Final = """SELECT d.*, t.work_item, clock_timestamp() AS read_at
  FROM deployments d JOIN tasks t ON t.id = d.task_id"""
_LANDED: Final = "status IN ('succeeded', 'rolled_back')"
_PREVIOUS: Final = f"""(SELECT p.sha FROM deployments p WHERE p.project = d.project AND p.environment = d.environment
  AND p.{_LANDED} ORDER BY p.finished_at DESC, p.id DESC LIMIT 1)"""
_SET_OWNER: Final = ", ".join(f"owner_{field} = :owner_{field}" for field in OWNER_FIELDS)
_THIS_OWNER: Final = " AND ".join(f"owner_{field} = :owner_{field}" for field in OWNER_FIELDS)


@dataclass(frozen=True, slots=True)
class Deployment:
    """One row. ``previous_sha`` is what the environment had before; ``read_at`` is the database's time of this read."""

    id: int
    project: str
    environment: str
    kind: str
    task_id: int
    work_item: str
    visit: int
    sha: str
    image: str | None
    status: DeploymentStatus
    owner: Owner | None
    previous_sha: str | None
    observed_sha: str | None
    detail: str
    requested_at: datetime
    launched_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    read_at: datetime

    @property
    def landed(self) -> bool:
        """Its version was seen to answer, healthy. A roll back that landed reads ``rolled_back``."""
        return self.status in (DeploymentStatus.SUCCEEDED, DeploymentStatus.ROLLED_BACK)

    @property
    def status_when_landed(self) -> DeploymentStatus:
        """What ``finish`` writes when its version answers."""
        return DeploymentStatus.ROLLED_BACK if self.kind == ROLL_BACK else DeploymentStatus.SUCCEEDED


def request(
    connection: Connection,
    *,
    task_id: int,
    visit: int,
    project: str,
    environment: str,
    sha: str,
    image: str | None = None,
    kind: str = DEPLOY,
) -> Deployment:
    """Ask for a deployment; the row there is when this (task, visit, environment, kind) was asked for before, whatever
    its sha and status: a tombstone stays one."""
    row = (task_id, visit, environment, kind)
    return _insert_or_find(connection, row, project, sha, image, DeploymentStatus.REQUESTED)


def tombstone(
    connection: Connection, *, task_id: int, visit: int, project: str, environment: str, sha: str, kind: str = DEPLOY
) -> Deployment:
    """Revoke a deployment that may not have been asked for yet: a late ``request`` finds the tombstone.

    The row as it is afterwards; it is ``revoked`` unless a deployer won it before.
    """
    row = (task_id, visit, environment, kind)
    found = _insert_or_find(connection, row, project, sha, None, DeploymentStatus.REVOKED)
    if found.status is DeploymentStatus.REQUESTED:
        revoke(connection, found.id)
        return _get(connection, found.id)
    return found


def _insert_or_find(
    connection: Connection,
    row: tuple[int, int, str, str],
    project: str,
    sha: str,
    image: str | None,
    status: DeploymentStatus,
) -> Deployment:
    key = dict(zip(("task_id", "visit", "environment", "kind"), row, strict=True))
    before = last_succeeded(connection, project, row[2])
    connection.execute(
        text(
            """INSERT INTO deployments
              (project, environment, kind, task_id, visit, sha, image, status, previous_sha, finished_at)
            VALUES (:project, :environment, :kind, :task_id, :visit, :sha, :image, :status, :previous,
              CASE WHEN :status = 'revoked' THEN clock_timestamp() END)
            ON CONFLICT (task_id, visit, environment, kind) DO NOTHING"""
        ),
        {
            **key,
            "project": project,
            "sha": sha,
            "image": image,
            "status": status,
            "previous": before.sha if before else None,
        },
    )
    where = "d.task_id = :task_id AND d.visit = :visit AND d.environment = :environment AND d.kind = :kind"
    return _read(connection.execute(text(f"{_SELECT} WHERE {where}"), key).one())


def get(connection: Connection, deployment_id: int) -> Deployment | None:
    row = connection.execute(text(f"{_SELECT} WHERE d.id = :id"), {"id": deployment_id}).one_or_none()
    return None if row is None else _read(row)


def _get(connection: Connection, deployment_id: int) -> Deployment:
    return _read(connection.execute(text(f"{_SELECT} WHERE d.id = :id"), {"id": deployment_id}).one())


def for_task(connection: Connection, task_id: int) -> Sequence[Deployment]:
    """All deployments and roll backs that this task asked for, oldest first."""
    rows = connection.execute(text(f"{_SELECT} WHERE d.task_id = :t ORDER BY d.id"), {"t": task_id})
    return [_read(row) for row in rows]


def unfinished(connection: Connection, limit: int = 100) -> Sequence[Deployment]:
    """Requested and running ones, in the order in which they may run: running, then roll backs, then oldest first."""
    rows = connection.execute(
        text(
            f"""{_SELECT} WHERE d.status IN ('requested', 'running')
            ORDER BY d.status <> 'running', d.kind <> 'roll_back', d.id LIMIT :n"""
        ),
        {"n": limit},
    )
    return [_read(row) for row in rows]


def last_succeeded(connection: Connection, project: str, environment: str) -> Deployment | None:
    """What was last seen to answer in this environment, by a deploy or a roll back."""
    row = connection.execute(
        text(
            f"""{_SELECT} WHERE d.project = :p AND d.environment = :e AND d.{_LANDED}
            ORDER BY d.finished_at DESC, d.id DESC LIMIT 1"""
        ),
        {"p": project, "e": environment},
    ).one_or_none()
    return None if row is None else _read(row)


def successor(connection: Connection, deployment_id: int) -> Deployment | None:
    """The newest deployment of another task that began in the same environment after this one had ended."""
    row = connection.execute(
        text(
            f"""{_SELECT} JOIN deployments o ON o.project = d.project AND o.environment = d.environment
            WHERE o.id = :id AND d.task_id <> o.task_id AND d.started_at >= o.finished_at
            ORDER BY d.started_at DESC, d.id DESC LIMIT 1"""
        ),
        {"id": deployment_id},
    ).one_or_none()
    return None if row is None else _read(row)


def mark_launched(connection: Connection, deployment_id: int) -> Committed | LostRace:
    """A deployer is about to be started for this row. Lost race: it is no longer requested."""
    statement = "UPDATE deployments SET launched_at = clock_timestamp() WHERE id = :id AND status = 'requested'"
    return _if_requested(connection, statement, deployment_id)


def mark_not_launched(connection: Connection, deployment_id: int) -> Committed | LostRace:
    """The deployer left without winning, because the environment is taken: start another one when it is free."""
    statement = "UPDATE deployments SET launched_at = NULL WHERE id = :id AND status = 'requested'"
    return _if_requested(connection, statement, deployment_id)


def revoke(connection: Connection, deployment_id: int) -> Committed | LostRace:
    """Make it impossible: a deployer that comes later leaves. Lost race: running or over, nothing is written."""
    statement = """UPDATE deployments SET status = 'revoked', finished_at = clock_timestamp()
      WHERE id = :id AND status = 'requested'"""
    return _if_requested(connection, statement, deployment_id)


def _if_requested(connection: Connection, statement: str, deployment_id: int) -> Committed | LostRace:
    done = connection.execute(text(statement), {"id": deployment_id})
    return Committed() if done.rowcount else LostRace("the deployment is no longer requested")


def win_running(connection: Connection, deployment_id: int, owner: Owner) -> Committed | LostRace:
    """``requested -> running`` for this deployer. Lost race: won by another one, revoked, another one is running in the
    environment (``OCCUPIED``), or an earlier request waits there, so that an older version never follows a newer.

    ``previous_sha`` is read again: another deployment may have ended since the request.
    """
    try:
        with connection.begin_nested():
            done = connection.execute(
                text(
                    f"""UPDATE deployments d SET status = 'running', started_at = clock_timestamp(),
                      {_SET_OWNER}, previous_sha = {_PREVIOUS}
                    WHERE d.id = :id AND d.status = 'requested' AND NOT EXISTS (
                      SELECT FROM deployments e WHERE e.project = d.project AND e.environment = d.environment
                        AND e.status = 'requested' AND (e.kind <> 'roll_back', e.id) < (d.kind <> 'roll_back', d.id))"""
                ),
                {"id": deployment_id, **owner_values(owner)},
            )
    except IntegrityError as error:
        if isinstance(error.orig, UniqueViolation) and error.orig.diag.constraint_name == _ONE_RUNNING:
            return LostRace(OCCUPIED)
        raise
    return Committed() if done.rowcount else _why_not_won(connection, deployment_id)


def _why_not_won(connection: Connection, deployment_id: int) -> LostRace:
    found = get(connection, deployment_id)
    if found is None:
        return LostRace(f"there is no deployment {deployment_id}")
    if found.status is DeploymentStatus.REQUESTED:
        return LostRace(OCCUPIED)
    return LostRace(f"the deployment is {found.status} already")


def finish(
    connection: Connection,
    deployment_id: int,
    owner: Owner | None,
    status: DeploymentStatus,
    observed_sha: str | None,
    detail: str,
) -> Committed | LostRace:
    """``running`` -> succeeded, failed or rolled_back, once; with ``owner``, only while the row names that deployer.

    The task's ``facts_at`` moves with it, so that a gate that waits looks again. Lost race: it ended already; the
    task is not touched.
    """
    assert status in (DeploymentStatus.SUCCEEDED, DeploymentStatus.FAILED, DeploymentStatus.ROLLED_BACK)
    # The task's row first, as every transaction of the protocol does: two orders would be a deadlock.
    lock = "SELECT t.id FROM tasks t JOIN deployments d ON d.task_id = t.id WHERE d.id = :id FOR UPDATE OF t"
    task_id = connection.execute(text(lock), {"id": deployment_id}).scalar_one_or_none()
    guard = f"AND {_THIS_OWNER}" if owner else ""
    done = connection.execute(
        text(
            f"""UPDATE deployments SET status = :s, observed_sha = :o, detail = :d, finished_at = clock_timestamp()
            WHERE id = :id AND status = 'running' {guard}"""
        ),
        {
            "id": deployment_id,
            "s": status,
            "o": None if observed_sha is None else storable(observed_sha),
            "d": storable(detail)[:_LONGEST_DETAIL],
            **(owner_values(owner) if owner else {}),
        },
    )
    if not done.rowcount:
        return LostRace("the deployment has ended already, or another deployer has it")
    connection.execute(text("UPDATE tasks SET facts_at = clock_timestamp() WHERE id = :t"), {"t": task_id})
    return Committed()


def _read(row: Row[tuple[object, ...]]) -> Deployment:
    plain = {name: value for name, value in row._mapping.items() if not name.startswith("owner_")}
    return Deployment(**{**plain, "status": DeploymentStatus(plain["status"]), "owner": read_owner(row)})
