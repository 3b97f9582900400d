"""Counters that any number of processes agree on. They live in Postgres and grow in the transaction they count."""

from __future__ import annotations

from sqlalchemy import Connection, text


def add(connection: Connection, name: str, label: str = "", by: int = 1) -> None:
    """Raise the counter ``name{label}`` by ``by``."""
    connection.execute(
        text(
            """INSERT INTO counters (name, label, value) VALUES (:n, :l, :b)
            ON CONFLICT (name, label) DO UPDATE SET value = counters.value + :b"""
        ),
        {"n": name, "l": label, "b": by},
    )


def read(connection: Connection) -> dict[tuple[str, str], int]:
    """All counters by (name, label)."""
    return {
        (row.name, row.label): row.value for row in connection.execute(text("SELECT name, label, value FROM counters"))
    }
