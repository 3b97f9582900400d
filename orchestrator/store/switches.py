"""Run-time levers, effective at once: pause (start nothing new), lane (a paused merge lane), panic (no new claim)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Switch:
    """A thrown lever. ``scope``: ``*``, a project, or project/base-branch."""

    name: str
    scope: str
    set_by: str
    reason: str
    set_at: datetime


def throw(connection: Connection, name: str, scope: str, by: str, reason: str) -> None:
    """Throw the lever; throwing it again keeps the first who and why."""
    done = connection.execute(
        text(
            """INSERT INTO switches (name, scope, set_by, reason) VALUES (:n, :s, :by, :r)
            ON CONFLICT (name, scope) DO NOTHING"""
        ),
        {"n": name, "s": scope, "by": by, "r": reason},
    ).rowcount
    if done:
        _record(connection, f"switch.{name}", scope, by, reason)


def release(connection: Connection, name: str, scope: str, by: str) -> bool:
    """Put the lever back; False when it was not thrown."""
    done = connection.execute(
        text("DELETE FROM switches WHERE name = :n AND scope = :s"), {"n": name, "s": scope}
    ).rowcount
    if done:
        _record(connection, f"switch.{name}_released", scope, by, "")
    return bool(done)


def _record(connection: Connection, kind: str, scope: str, by: str, reason: str) -> None:
    connection.execute(
        text(
            """INSERT INTO events (kind, actor, detail)
            VALUES (:k, :by, jsonb_build_object('scope', CAST(:s AS text), 'reason', CAST(:r AS text)))"""
        ),
        {"k": kind, "by": by, "s": scope, "r": reason},
    )


def thrown(connection: Connection) -> Sequence[Switch]:
    """Every lever that is thrown now."""
    rows = connection.execute(text("SELECT name, scope, set_by, reason, set_at FROM switches ORDER BY name, scope"))
    return [Switch(**row._mapping) for row in rows]
