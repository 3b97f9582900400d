"""When each sweep and poll ran last, and the guard that two beats do not run the same sweep at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from orchestrator.store.database import Store
from orchestrator.store.texts import storable

_LONGEST: int = 2000


@dataclass(frozen=True, slots=True)
class Tick:
    """The last pass of a sweep or poll. Ages are seconds by the database's clock; ``success_age_s`` is None when it
    never ended well. ``last_error`` is empty while the last pass ended well."""

    name: str
    summary: str
    last_at: datetime
    age_s: float
    last_success_at: datetime | None
    success_age_s: float | None
    last_error: str


@contextmanager
def only_one(store: Store, name: str) -> Iterator[bool]:
    """Whether this is the only pass of ``name`` now; held until the block ends or the process dies.

    A lock of the session, not of a transaction: a pass waits for git and HTTP, and no transaction may stay open so
    long. It saves work only; every write of a pass is guarded by itself.
    """
    with store.engine.connect() as connection:
        free = connection.execution_options(isolation_level="AUTOCOMMIT")
        key = {"name": f"tick:{name}"}
        mine = bool(free.execute(text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))"), key).scalar_one())
        try:
            yield mine
        finally:
            if mine:
                free.execute(text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), key)


def began(connection: Connection, name: str) -> None:
    """A pass has begun: a long one is no silent one."""
    connection.execute(
        text(
            """INSERT INTO ticks (name) VALUES (:n)
            ON CONFLICT (name) DO UPDATE SET last_at = clock_timestamp()"""
        ),
        {"n": name},
    )


def now(connection: Connection) -> datetime:
    """The time of the database, which is what all these times are."""
    found: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return found


def record(connection: Connection, name: str, *, ok: bool, note: str = "", as_of: datetime | None = None) -> None:
    """A pass has ended. ``note`` is its summary when ``ok``, else what went wrong. ``as_of``: how old what it found
    is (None: as this record)."""
    connection.execute(
        text(
            """INSERT INTO ticks (name, summary, last_at, last_success_at, last_error)
            VALUES (:n, CASE WHEN :ok THEN :t ELSE '' END, clock_timestamp(),
              CASE WHEN :ok THEN coalesce(:as_of, clock_timestamp()) END, CASE WHEN :ok THEN '' ELSE :t END)
            ON CONFLICT (name) DO UPDATE SET last_at = excluded.last_at, last_error = excluded.last_error,
              summary = CASE WHEN :ok THEN excluded.summary ELSE ticks.summary END,
              last_success_at = coalesce(excluded.last_success_at, ticks.last_success_at)"""
        ),
        {"n": name, "ok": ok, "as_of": as_of, "t": storable(note)[:_LONGEST] or ("" if ok else "failed")},
    )


def ages(connection: Connection) -> Sequence[Tick]:
    """Every sweep and poll that ever ran, by name."""
    rows = connection.execute(
        text(
            """SELECT name, summary, last_at, last_success_at, last_error,
              extract(epoch FROM clock_timestamp() - last_at)::float AS age_s,
              extract(epoch FROM clock_timestamp() - last_success_at)::float AS success_age_s
            FROM ticks ORDER BY name"""
        )
    )
    return [Tick(**row._mapping) for row in rows]
