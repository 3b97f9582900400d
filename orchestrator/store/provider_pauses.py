"""Providers that refused for a quota: no run of that runtime starts anywhere until the reset, then one tries first."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, text

from orchestrator.domain.budgets import ProviderPause
from orchestrator.domain.ownership import Committed, LostRace

_TRY_S: Final = 3600
"""A run that tries whether a provider is back and tells nothing for so long does not hold up the others any more."""


def pause(connection: Connection, runtime: str, until: datetime | None, why: str, default_s: float) -> None:
    """Pause ``runtime`` until its reset. Where none was named: ``default_s``, twice as long after each refusal."""
    connection.execute(
        text(
            """INSERT INTO provider_pauses (runtime, until, why)
            VALUES (:r, coalesce(:u, clock_timestamp() + make_interval(secs => :s)), :w)
            ON CONFLICT (runtime) DO UPDATE SET why = :w, refusals = provider_pauses.refusals + 1,
              tried_by = NULL, tried_at = NULL, refused_at = clock_timestamp(),
              until = greatest(provider_pauses.until, coalesce(:u, clock_timestamp()
                + make_interval(secs => :s * power(2, least(provider_pauses.refusals, 5)))))"""
        ),
        {"r": runtime, "u": until, "w": why, "s": default_s},
    )


def resume(connection: Connection, runtime: str, run_id: str) -> bool:
    """That run was served: start what waited. False when nothing was paused, or refused since the run began."""
    return bool(
        connection.execute(
            text(
                """DELETE FROM provider_pauses WHERE runtime = :r
                AND refused_at < (SELECT started_at FROM agent_runs WHERE run_id = :id)"""
            ),
            {"r": runtime, "id": run_id},
        ).rowcount
    )


def give_back_try(connection: Connection, runtime: str, task_id: int) -> None:
    """The run that tried ended without telling: another one may try."""
    connection.execute(
        text("UPDATE provider_pauses SET tried_by = NULL, tried_at = NULL WHERE runtime = :r AND tried_by = :t"),
        {"r": runtime, "t": task_id},
    )


def find(connection: Connection, runtime: str | None) -> ProviderPause | None:
    """The pause of that runtime, also one whose time is over and which nobody has tried yet."""
    row = connection.execute(
        text(
            """SELECT runtime, until, why,
              CASE WHEN tried_at > clock_timestamp() - make_interval(secs => :s) THEN tried_by END AS tried_by
            FROM provider_pauses WHERE runtime = :r"""
        ),
        {"r": runtime, "s": _TRY_S},
    ).one_or_none()
    return None if row is None else ProviderPause(row.runtime, row.until, row.why, row.tried_by)


def take_try(connection: Connection, runtime: str, task_id: int) -> Committed | LostRace:
    """Be the one that tries whether the provider is back. Lost race: another task's run tries already.

    Committed too when nothing is paused: then nobody has to be first.
    """
    row = connection.execute(
        text(
            """UPDATE provider_pauses SET tried_by = :t, tried_at = clock_timestamp()
            WHERE runtime = :r AND until <= clock_timestamp()
              AND (tried_by IS NULL OR tried_by = :t OR tried_at <= clock_timestamp() - make_interval(secs => :s))
            RETURNING runtime"""
        ),
        {"r": runtime, "t": task_id, "s": _TRY_S},
    ).one_or_none()
    if row is not None or find(connection, runtime) is None:
        return Committed()
    return LostRace(f"{runtime} is paused, or another run tries first whether it is back")
