"""The database's clock, as every node reads it: waits and retries are written by it, so they are judged by it."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text

from orchestrator.store.database import Store

FRESH_S: Final = 60.0
"""So long one reading is carried on by the monotonic clock, which no change of the node's own time moves."""


class DatabaseClock:
    """``ports.Clock``. A node whose own clock is an hour off would else never wait, or wait an hour too long."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: datetime | None = None
        self._read_at = 0.0

    def now(self) -> datetime:
        """Raises sqlalchemy's OperationalError when a new reading is due and the database does not answer."""
        since = time.monotonic() - self._read_at
        if self._read is None or since > FRESH_S:
            with self._store.transaction() as connection:
                self._read = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
            self._read_at, since = time.monotonic(), 0.0
        return self._read + timedelta(seconds=since)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
