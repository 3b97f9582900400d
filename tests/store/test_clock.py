"""Every node reads the database's time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy

from orchestrator.store import clock
from orchestrator.store.clock import DatabaseClock
from orchestrator.store.database import Store


def test_a_node_whose_own_time_is_off_reads_the_time_of_the_database(engine: sqlalchemy.Engine) -> None:
    found = DatabaseClock(Store(engine))
    first = found.now()
    with engine.begin() as connection:
        there = connection.execute(sqlalchemy.text("SELECT clock_timestamp()")).scalar_one()
    assert abs(there - first) < timedelta(seconds=30)
    assert first <= found.now() <= datetime.now(UTC) + timedelta(seconds=30)


def test_one_reading_is_carried_on_until_it_is_old(engine: sqlalchemy.Engine) -> None:
    asked: list[str] = []
    sqlalchemy.event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    found = DatabaseClock(Store(engine))
    times = [found.now() for _ in range(5)]
    assert times == sorted(times)
    assert sum("clock_timestamp" in one for one in asked) == 1
    found._read_at -= clock.FRESH_S + 1
    found.now()
    assert sum("clock_timestamp" in one for one in asked) == 2
