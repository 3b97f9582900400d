"""What one check of the audit is: a statement that names breaches, run over the tasks in question."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, text

from orchestrator.domain.stages import TERMINAL

MOST: Final = 500
"""So many breaches of one check are named. Whoever has more has one cause, and reads no further."""
_WORK_MEM: Final = "64MB"
"""Sorting and hashing a million rows in memory that every database has to spare."""
_LONGEST_CHECK_S: Final = 600


def one_of(values: Iterable[str]) -> str:
    """SQL list of constants of ours."""
    return "({})".format(", ".join(f"'{one}'" for one in sorted(values)))


OVER: Final = one_of(TERMINAL)
NAME: Final = "format('effect %s (%s %s, visit %s)', e.id, e.kind, e.target, e.visit)"
"""How an effect ``e`` is named. Written where it is needed: a column of every row would cost more than all checks."""

TASKS: Final = f"""audited AS (
  SELECT * FROM tasks WHERE (CAST(:item AS text) IS NULL OR work_item = :item)
    AND (CAST(:since AS timestamptz) IS NULL OR stage NOT IN {OVER} OR stage_entered_at >= :since)
), step AS (
  SELECT e.id, e.task_id, e.detail->>'from' AS source, e.detail->>'to' AS target, e.stage_seq AS seq, e.epoch, e.actor,
    e.at, e.detail ? 'lease' AS unguarded
  FROM events e JOIN audited t ON t.id = e.task_id WHERE e.kind IN ('task.created', 'stage.committed')
), effect AS (
  SELECT e.* FROM effects e JOIN audited t ON t.id = e.task_id
), change AS (
  SELECT e.id, e.task_id, e.kind, e.stage_seq, e.epoch, e.at, (e.detail->>'id')::bigint AS effect_id,
    (e.detail->>'epoch')::bigint AS written_epoch
  FROM events e JOIN audited t ON t.id = e.task_id WHERE e.kind LIKE 'effect.%' AND NOT e.detail ? 'lease'
)"""
"""``step``: entries into stages; ``effect``: ledger rows; ``change``: what was written into the ledger under a lease,
in the order in which it was."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which tasks are looked at: of one work item, or those that lived at ``since`` or later; all of their history."""

    item: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A breach that rows show. ``work_item`` is None where no task is to blame."""

    invariant: str
    work_item: str | None
    evidence: str


@dataclass(frozen=True, slots=True)
class Check:
    """``sql`` selects (task_id, invariant, evidence), after ``WITH`` and ``TASKS``; ``also``: further named queries.

    ``passing``: what it names may be on its way to be mended (a sweep is due), so that only what a later look finds
    again is a breach. ``limit_s`` is then the parameter ``:limit``: after so long it should have happened.
    """

    name: str
    sql: str
    also: str = ""
    passing: bool = False


def prepare(connection: Connection) -> None:
    """Set up a snapshot for statements that read everything there is."""
    connection.execute(text(f"SET LOCAL work_mem = '{_WORK_MEM}'"))
    connection.execute(text(f"SET LOCAL statement_timeout = '{_LONGEST_CHECK_S}s'"))
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def run(connection: Connection, check: Check, scope: Scope, limit_s: float) -> list[Found]:
    """What ``check`` finds in the snapshot of ``connection``."""
    also = f", {check.also}" if check.also else ""
    rows = connection.execute(
        text(
            f"""WITH {TASKS}{also}
            SELECT DISTINCT f.invariant, t.work_item, f.evidence, f.task_id
            FROM ({check.sql}) AS f(task_id, invariant, evidence) LEFT JOIN tasks t ON t.id = f.task_id
            ORDER BY f.task_id, f.invariant, f.evidence LIMIT {MOST}"""  # constants of this package
        ),
        {"item": scope.item, "since": scope.since, "limit": limit_s},
    )
    return [Found(row.invariant, row.work_item, row.evidence) for row in rows]
