"""The schema's versions: ``upgrade(url)`` brings a database to ``head()``, ``current(url)`` says where it stands.

Each migration is one transaction. Two upgrades at once are harmless: the second waits, then finds nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from orchestrator.domain.errors import ConfigurationError, PermanentError, TransientError

LOCK_TIMEOUT: Final = "4s"
"""A migration that waits for a table lock makes every query queue up behind it; it gives up before people notice."""
STATEMENT_TIMEOUT: Final = "30s"
"""One statement on a table that is in use. A migration that needs longer works in batches or sets its own."""
_WAIT_FOR_ANOTHER: Final = "300s"  # the longest upgrade of another process that this one waits for
_LOCK_KEY: Final = 0x6F726368  # «orch»; advisory locks belong to one database
_CONNECT_TIMEOUT_S: Final = 10


def upgrade(url: str) -> None:
    """Bring the database at ``url`` to this program's schema. Repeating it is harmless, also at the same time.

    Raises ConfigurationError when the database has a version that this program does not know, TransientError when it
    is unreachable or in use (nothing half done), PermanentError when a migration does not fit what is there.
    """
    with _connection(url) as connection:
        _wait_for_other_upgrades(connection)
        _refuse_unknown(version(connection))
        connection.rollback()
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def current(url: str) -> str | None:
    """The schema version of the database at ``url``; None when it has none. Raises TransientError."""
    with _connection(url) as connection:
        return version(connection)


def version(connection: Connection) -> str | None:
    """The schema version that ``connection`` sees; None when there is none."""
    return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The schema version that this program works with."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    assert newest is not None  # a program without a migration does not exist
    return newest


def _config() -> Config:
    config = Config()
    # A percent sign would be an interpolation there.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": _CONNECT_TIMEOUT_S})
    try:
        with engine.connect() as connection:
            yield connection
    except OperationalError as error:
        raise TransientError(
            f"the database did not do it: {error.orig}",
            remedy="check ORCH_DATABASE_URL and that Postgres runs; when a table was locked, try again",
        ) from error
    except ProgrammingError as error:
        raise PermanentError(
            f"a migration does not fit this database: {error.orig}",
            remedy="it left nothing behind; see that ORCH_DATABASE_URL names the orchestrator's own database",
        ) from error


def _wait_for_other_upgrades(connection: Connection) -> None:
    # Of the session, not of a transaction: it spans the migrations, and ends with the connection, however that ends.
    _set_timeouts(connection, lock=_WAIT_FOR_ANOTHER, statement=_WAIT_FOR_ANOTHER)
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
    _set_timeouts(connection, lock=LOCK_TIMEOUT, statement=STATEMENT_TIMEOUT)
    # Alembic commits only the transactions that it began.
    connection.commit()


def _set_timeouts(connection: Connection, *, lock: str, statement: str) -> None:
    connection.execute(
        text("SELECT set_config('lock_timeout', :lock, false), set_config('statement_timeout', :statement, false)"),
        {"lock": lock, "statement": statement},
    )


def _refuse_unknown(found: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        raise ConfigurationError(
            f"the database has schema version {found}, which this program does not know (its newest is {head()})",
            remedy="start the version of the orchestrator that made it, or a later one",
        )
