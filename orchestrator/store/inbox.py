"""Deliveries of webhooks: kept before they are answered, processed at least once, with consequences once.

A delivery is a hint. Its body is kept for people to look at; what it says is read again from tracker or forge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Row, text

from orchestrator.domain.ownership import Committed, LostRace
from orchestrator.store.texts import storable

FIRST_RETRY_S: Final = 2.0
"""A forge or tracker that just restarted is usually back within seconds."""
LONGEST_RETRY_S: Final = 900.0
"""A delivery is never given up, so its retries must not be a load: one every quarter of an hour is none."""
KEPT_DAYS: Final = 30
"""For people who compare logs, and to know a delivery that somebody sends again."""
_LONGEST_ERROR: Final = 2000
_NEWEST: Final = 100
"""Rows that are looked at; one that waited on disk is older than its number says."""

_COLUMNS: Final = "id, source, delivery, event, body, work_item, attempts, error, note, received_at, processed_at"


@dataclass(frozen=True, slots=True)
class Received:
    """The row of a delivery. ``duplicate``: it was kept before, and nothing was written now."""

    id: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """A kept delivery. ``delivery`` is the sender's own id for it, for people who compare logs; ``note`` says why a
    processed one asked for nothing."""

    id: int
    source: str
    delivery: str
    event: str
    body: bytes
    work_item: str | None
    attempts: int
    error: str
    note: str
    received_at: datetime
    processed_at: datetime | None


def receive(
    connection: Connection,
    *,
    source: str,
    delivery: str,
    dedupe_key: str,
    event: str,
    body: bytes,
    received_at: datetime | None = None,
) -> Received:
    """Keep a delivery; one with the same ``dedupe_key`` from the same source is kept once. ``received_at``: when it
    came, where it waited elsewhere meanwhile."""
    found = connection.execute(
        text(
            """INSERT INTO inbox (source, delivery, dedupe_key, event, body, received_at)
            VALUES (:s, :d, :k, :e, :b, coalesce(:at, clock_timestamp()))
            ON CONFLICT (source, dedupe_key) DO NOTHING RETURNING id"""
        ),
        {
            "s": source,
            "d": storable(delivery),
            "k": storable(dedupe_key),
            "e": storable(event),
            "b": body,
            "at": received_at,
        },
    ).scalar_one_or_none()
    if found is not None:
        return Received(int(found), duplicate=False)
    kept = connection.execute(
        text("SELECT id FROM inbox WHERE source = :s AND dedupe_key = :k"), {"s": source, "k": storable(dedupe_key)}
    ).scalar_one()
    return Received(int(kept), duplicate=True)


def get(connection: Connection, delivery_id: int) -> Delivery | None:
    row = connection.execute(text(f"SELECT {_COLUMNS} FROM inbox WHERE id = :id"), {"id": delivery_id}).one_or_none()
    return None if row is None else _delivery(row)


def due(connection: Connection, limit: int = 100) -> Sequence[Delivery]:
    """Unprocessed deliveries whose time has come, oldest first."""
    rows = connection.execute(
        text(
            f"""SELECT {_COLUMNS} FROM inbox WHERE processed_at IS NULL AND not_before <= clock_timestamp()
            ORDER BY not_before, id LIMIT :n"""
        ),
        {"n": limit},
    )
    return [_delivery(row) for row in rows]


def processed(
    connection: Connection, delivery_id: int, work_item: str | None = None, *, note: str = ""
) -> Committed | LostRace:
    """Its consequences are rows now: call it in the transaction that writes them. ``note``: why it had none. Lost race:
    processed already."""
    done = connection.execute(
        text(
            """UPDATE inbox SET processed_at = clock_timestamp(), work_item = coalesce(:w, work_item), error = '',
              note = :note
            WHERE id = :id AND processed_at IS NULL"""
        ),
        {"id": delivery_id, "w": work_item, "note": storable(note)[:_LONGEST_ERROR]},
    )
    return Committed() if done.rowcount else LostRace("the delivery was processed already")


def failed(
    connection: Connection, delivery_id: int, error: str, *, wait_s: float | None = None
) -> Committed | LostRace:
    """It could not be processed: look again later, twice as late each time, and not before ``wait_s`` seconds where
    the sender named a time. Lost race: processed meanwhile."""
    done = connection.execute(
        text(
            """UPDATE inbox SET attempts = attempts + 1, error = :e, not_before = clock_timestamp()
              + make_interval(secs => least(:longest, greatest(:wait, :first * power(2, least(attempts, 30)))))
            WHERE id = :id AND processed_at IS NULL"""
        ),
        {
            "id": delivery_id,
            "e": storable(error)[:_LONGEST_ERROR],
            "wait": wait_s or 0.0,
            "longest": LONGEST_RETRY_S,
            "first": FIRST_RETRY_S,
        },
    )
    return Committed() if done.rowcount else LostRace("the delivery was processed already")


def heard_since(connection: Connection, source: str, moment: datetime) -> bool:
    """Whether any delivery of that source came at or after ``moment``."""
    return bool(
        connection.execute(
            text(
                """SELECT EXISTS (SELECT FROM (SELECT received_at FROM inbox WHERE source = :s ORDER BY id DESC
                  LIMIT :n) newest WHERE received_at >= :m)"""
            ),
            {"s": source, "m": moment, "n": _NEWEST},
        ).scalar_one()
    )


def forget(connection: Connection, limit: int = 1000) -> int:
    """Delete processed deliveries that are older than ``KEPT_DAYS``, some at a time; how many. No sender repeats itself
    after that long."""
    done = connection.execute(
        text(
            """DELETE FROM inbox WHERE id IN (SELECT id FROM (SELECT id, processed_at FROM inbox ORDER BY id LIMIT :n)
              oldest WHERE processed_at < clock_timestamp() - make_interval(days => :days))"""
        ),
        {"days": KEPT_DAYS, "n": limit},
    )
    return int(done.rowcount)


def _delivery(row: Row[tuple[object, ...]]) -> Delivery:
    return Delivery(**row._mapping)
