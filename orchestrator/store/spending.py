"""What agent runs used, added up for budgets. SELECT only."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, LiteralString

from sqlalchemy import Connection, text

from orchestrator.domain.budgets import Spending, Spent

_SUMS: Final = """SELECT coalesce(sum(r.cost_usd), 0) AS usd,
  coalesce(sum(coalesce(r.tokens_in, 0) + coalesce(r.tokens_out, 0)), 0) AS tokens,
  coalesce(sum(extract(epoch FROM coalesce(r.exited_at, clock_timestamp()) - r.started_at)), 0) AS seconds,
  count(*) FILTER (WHERE r.exited_at IS NOT NULL AND r.cost_usd IS NULL) AS unmeasured
  FROM agent_runs r JOIN jobs j ON j.id = r.job_id"""
_OF_ITEM: Final[LiteralString] = f"{_SUMS} WHERE j.task_id = :key"
_OF_DAY: Final[LiteralString] = f"""{_SUMS} JOIN tasks t ON t.id = j.task_id WHERE t.project = :key
  AND r.started_at >= date_trunc('day', clock_timestamp() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"""


def of_task(connection: Connection, task_id: int, project: str) -> Spending:
    """What the task's runs used so far, and all runs of its project today (UTC)."""
    return Spending(item=_spent(connection, _OF_ITEM, task_id), day=_spent(connection, _OF_DAY, project))


def _spent(connection: Connection, statement: LiteralString, key: object) -> Spent:
    row = connection.execute(text(statement), {"key": key}).one()
    return Spent(Decimal(row.usd), int(row.tokens), float(row.seconds), int(row.unmeasured))
