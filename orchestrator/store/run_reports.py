"""What agent runs used, as their CLIs told it: tokens and cost on the run's row, each counted once.

A CLI that resumes a session reports running totals. What the earlier runs of that session used adds up to the last
total, so the new run's part is the difference.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from orchestrator.domain.run_reports import RunReport
from orchestrator.domain.runs import Usage
from orchestrator.domain.views import Outcome


def record_report(connection: Connection, run_id: str, report: RunReport, outcome: Outcome) -> None:
    """Write it to the run's row. Repeating it is harmless: the figures are replaced, not added."""
    used = _own_part(connection, run_id, report)
    connection.execute(
        text(
            """UPDATE agent_runs SET outcome = :o, session_id = coalesce(:session, session_id),
              model = :model, cli_version = :version,
              tokens_in = :tokens_in, tokens_out = :tokens_out, cost_usd = :cost_usd WHERE run_id = :id"""
        ),
        {
            "id": run_id,
            "o": outcome,
            "session": report.session_id,
            "model": report.model,
            "version": report.version,
            "tokens_in": used.tokens_in,
            "tokens_out": used.tokens_out,
            "cost_usd": used.cost_usd,
        },
    )


def _own_part(connection: Connection, run_id: str, report: RunReport) -> Usage:
    if not report.usage_of_session or report.session_id is None:
        return report.usage
    earlier = connection.execute(
        text(
            """SELECT sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out, sum(cost_usd) AS cost_usd
            FROM agent_runs WHERE session_id = :s AND run_id <> :id
              AND id < (SELECT id FROM agent_runs WHERE run_id = :id)"""
        ),
        {"s": report.session_id, "id": run_id},
    ).one()
    return report.usage.since(
        Usage(
            None if earlier.tokens_in is None else int(earlier.tokens_in),
            None if earlier.tokens_out is None else int(earlier.tokens_out),
            earlier.cost_usd,
        )
    )
