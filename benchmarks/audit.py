"""What ``orch verify`` costs on a million rows: processor time, since other work on the machine is not its own."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text

from benchmarks.figure import Figure
from benchmarks.histories import ROWS_A_TASK, fill
from orchestrator.embedded import EmbeddedStores
from orchestrator.store import audit
from orchestrator.store.audit import Scope, stored_texts
from orchestrator.store.database import Store, connect, create_all

_ROWS: Final = 1_000_000
_NEEDLES: Final = tuple(b"a-secret-that-nobody-wrote-%d" % number for number in range(8))
_PATIENCE_S: Final = 40.0


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, EmbeddedStores(Path(folder), valkey=False) as stores:
        store = connect(stores.places.database_url("postgres"))
        create_all(store.engine)
        _fill(store)
        memory = _memory_mb()
        rows, texts, breaches = _audit(store)
        store.engine.dispose()
    yield Figure("orch verify, checks of 1 M rows", rows, "s CPU", limit=15)
    yield Figure("orch verify, texts of 1 M rows", texts, "s CPU", limit=20)
    yield Figure("orch verify, memory that 1 M rows add", _memory_mb() - memory, "MB", limit=100)
    yield Figure("orch verify, breaches in clean rows", breaches, "", limit=0)


def _fill(store: Store) -> None:
    with store.engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        fill(connection, -(-_ROWS // ROWS_A_TASK))
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _audit(store: Store) -> tuple[float, float, int]:
    """(seconds for the checks, for the texts, breaches): of this process and of the one that serves it."""
    with store.snapshot() as connection:
        audit.prepare(connection)
        began = _seconds(connection)
        found = [one for check in audit.CHECKS for one in audit.run(connection, check, Scope(), _PATIENCE_S)]
        between = _seconds(connection)
        leaks = list(stored_texts.leaks(connection, _NEEDLES))
        return between - began, _seconds(connection) - between, len(found) + len(leaks)


def _seconds(connection: Connection) -> float:
    """Processor time of this process and of its database session."""
    pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    mine = resource.getrusage(resource.RUSAGE_SELF)
    ticks = int(fields[11]) + int(fields[12])
    return mine.ru_utime + mine.ru_stime + ticks / 100


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
