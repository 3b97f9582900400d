"""One engine a process, and the one way to open a transaction."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Connection as Connection  # others pass one on, and import no SQLAlchemy
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.exc import InterfaceError, OperationalError

from orchestrator.store import triggers
from orchestrator.store.local_schema import metadata

T = TypeVar("T")
_log = logging.getLogger(__name__)
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Store:
    """The database of the orchestrator. Hand it to functions of this package inside ``transaction``."""

    engine: Engine

    @contextmanager
    def transaction(self, actor: str = "") -> Iterator[Connection]:
        """One short transaction, committed at exit. ``actor`` is what history rows of this transaction name.

        Never hold it open across a subprocess, an HTTP call or a sleep.
        """
        with self.engine.begin() as connection:
            if actor:
                connection.execute(text("SELECT set_config('orch.actor', :actor, true)"), {"actor": actor})
            yield connection

    def insist(
        self,
        statements: Callable[[Connection], T],
        actor: str,
        *,
        patience_s: float = math.inf,
        sleep: Callable[[float], object] = time.sleep,
    ) -> T:
        """``statements`` in one transaction, tried again while the database is away (raises its error after
        ``patience_s`` seconds). They must be guarded: one whose answer was lost may have happened, and comes again."""
        deadline, pause_s = time.monotonic() + patience_s, _FIRST_PAUSE_S
        while True:
            try:
                with self.transaction(actor) as connection:
                    return statements(connection)
            except (OperationalError, InterfaceError):
                if time.monotonic() >= deadline:
                    raise
                _log.warning("the database does not answer, trying again", exc_info=True)
            sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """One consistent read-only view over several statements."""
        with self.engine.connect() as connection:
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            yield connection
            connection.rollback()


def connect(url: str, *, pool_size: int = 1) -> Store:
    """A store for ``url``; its pool is dropped in every forked child, which must not share a socket."""
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size * 2 + 6,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={
            "connect_timeout": 5,
            "options": "-c lock_timeout=15000 -c statement_timeout=60000 -c idle_in_transaction_session_timeout=60000",
        },
    )
    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    return Store(engine)


def connect_for_single_statements(url: str, *, pool_size: int) -> Store:
    """A store whose every statement is a transaction of its own: one round trip instead of four.
    A connection that a restart of the server broke shows with its next statement (``connection_invalidated``), and all
    others of the pool are given up with it: repeat what may be repeated."""
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_recycle=1800,
        pool_reset_on_return=None,
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": 5, "options": "-c lock_timeout=15000 -c statement_timeout=60000"},
    )
    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    return Store(engine)


def connect_briefly(url: str) -> Store:
    """A store without a pool whose calls end within seconds: for the main process of a worker, which answers people
    and must not hang on a database that does not."""
    options = "-c lock_timeout=1000 -c statement_timeout=1500 -c idle_in_transaction_session_timeout=5000"
    connect_args = {"connect_timeout": 2, "options": options}
    return Store(create_engine(url, poolclass=NullPool, connect_args=connect_args))


def create_all(engine: Engine) -> None:
    """Create the declared schema in an empty database: for tests; production uses the migrations."""
    with engine.begin() as connection:
        metadata.create_all(connection)
        triggers.create_triggers(connection)
