"""Real Postgres and Valkey for tests.

One Postgres a pytest run, shared by all pytest-xdist workers: the first worker that needs it starts it as a
direct child and stops it at its own end, once every other user has let go (each holds a shared file lock for
as long as it lives). One database a test, cloned from a template that has the schema.
"""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import json
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psycopg
import pytest
import sqlalchemy
from psycopg import sql

from orchestrator.embedded import EmbeddedStores, Places, places
from orchestrator.store.database import Store

_PREFIX = "orch-tests-"
_TEMPLATE = "orch_template"
_LEFTOVER_AGE_S = 3600.0
# Nothing here is kept, so nothing needs to reach the disk.
_FAST_AND_LOSSY = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_connections=200",
    "shared_buffers=64MB",
    "autovacuum=off",
    "jit=off",
    "log_min_messages=warning",
)


def _lock(path: Path, mode: int) -> IO[str]:
    handle = path.open("a+")
    fcntl.flock(handle, mode)
    return handle


@dataclass(slots=True)
class PostgresServer:
    """The shared server of this run. ``url(database)`` is a SQLAlchemy URL; ``run_sql`` runs one statement."""

    places: Places
    base: Path
    _users: IO[str]
    _own: EmbeddedStores | None
    _admin: psycopg.Connection[tuple[object, ...]] | None = field(default=None)

    def url(self, database: str) -> str:
        """SQLAlchemy URL of a database on this server."""
        return self.places.database_url(database)

    def run_sql(self, statement: sql.Composed) -> None:
        """Run an administrative statement (CREATE or DROP DATABASE) outside a transaction."""
        if self._admin is None or self._admin.closed:
            host = str(self.places.postgres_socket_dir)
            self._admin = psycopg.connect(host=host, user="postgres", dbname="postgres", autocommit=True)
        self._admin.execute(statement)

    def release(self) -> None:
        """Let go; whoever started the server waits for all others and stops it."""
        if self._admin is not None:
            self._admin.close()
        self._users.close()
        if self._own is not None:
            with _lock(self.base / "users", fcntl.LOCK_EX), _lock(self.base / "start", fcntl.LOCK_EX):
                self._own.stop()
                shutil.rmtree(self.base, ignore_errors=True)


def _run_id() -> str:
    return os.environ.get("PYTEST_XDIST_TESTRUNUID", f"p{os.getpid()}")[:12]


def _sweep_leftovers() -> None:
    """Remove directories of runs that were killed: old, and nobody holds their lock."""
    for base in Path(tempfile.gettempdir()).glob(f"{_PREFIX}{os.geteuid()}-*"):
        try:
            if time.time() - base.stat().st_mtime < _LEFTOVER_AGE_S:
                continue
            with (base / "users").open("a+") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(base, ignore_errors=True)
        except OSError:
            continue


def _acquire() -> PostgresServer:
    base = Path(tempfile.gettempdir()) / f"{_PREFIX}{os.geteuid()}-{_run_id()}"
    _sweep_leftovers()
    with _lock_start(base):
        users = _lock(base / "users", fcntl.LOCK_SH)
        state = base / "state.json"
        own = None
        if not _runs(state):
            own = EmbeddedStores(base / "stores", valkey=False, postgres_options=_options())
            own.start()
            state.write_text(json.dumps(own.pids))
        return PostgresServer(places(base / "stores"), base, users, own)


def _lock_start(base: Path) -> IO[str]:
    """The start lock of a directory that is really there: the last user may be removing it just now."""
    while True:
        base.mkdir(mode=0o700, exist_ok=True)
        try:
            handle = _lock(base / "start", fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(handle.fileno()), (base / "start").stat()):
                return handle
            handle.close()
        except FileNotFoundError:
            continue


def _options() -> list[str]:
    return [word for option in _FAST_AND_LOSSY for word in ("-c", option)]


def _runs(state: Path) -> bool:
    try:
        pid = int(json.loads(state.read_text())["postgres"])
        return Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    except (OSError, ValueError, KeyError):
        return False


_server = pytest.StashKey[PostgresServer]()


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> PostgresServer:
    """The Postgres server of this run."""
    server = _acquire()
    request.config.stash[_server] = server
    return server


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of the shared server. Not a fixture's end: waiting for other workers must not time a test out."""
    server = config.stash.get(_server, None)
    if server is not None:
        server.release()


@pytest.fixture(scope="session")
def template_database(postgres_server: PostgresServer) -> str:
    """Name of the database that has the schema; made once a run. Nobody may stay connected to it."""
    with _lock(postgres_server.base / "template", fcntl.LOCK_EX) as handle:
        handle.seek(0)
        if not handle.read():
            _create_template(postgres_server)
            handle.write("made")
            handle.flush()
    return _TEMPLATE


def _create_template(server: PostgresServer) -> None:
    name = sql.Identifier(_TEMPLATE)
    server.run_sql(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
    server.run_sql(sql.SQL("CREATE DATABASE {}").format(name))
    _load_schema(server.url(_TEMPLATE))


def _load_schema(url: str) -> None:
    """Migrations where they exist: they are what production runs. Else the declared tables."""
    if importlib.util.find_spec("orchestrator.store.migrations") is not None:
        migrations = importlib.import_module("orchestrator.store.migrations")
        if hasattr(migrations, "upgrade"):
            migrations.upgrade(url)
            return
    database = importlib.import_module("orchestrator.store.database")
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    database.create_all(engine)
    engine.dispose()


@contextmanager
def _clone(server: PostgresServer, template: str) -> Iterator[str]:
    name = f"t_{uuid.uuid4().hex[:16]}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    server.run_sql(create.format(sql.Identifier(name), sql.Identifier(template)))
    yield server.url(name)
    server.run_sql(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database_url(postgres_server: PostgresServer, template_database: str) -> Iterator[str]:
    """SQLAlchemy URL of a database of this test's own, with the schema; dropped afterwards."""
    with _clone(postgres_server, template_database) as url:
        yield url


@pytest.fixture(scope="module")
def module_database_url(postgres_server: PostgresServer, template_database: str) -> Iterator[str]:
    """URL of one database for the tests of a module: for many tests that each look at little."""
    with _clone(postgres_server, template_database) as url:
        yield url


@pytest.fixture(scope="module")
def shared_store(module_database_url: str) -> Iterator[Store]:
    """The module's database: what tests keep in it is told apart by ``project``, so none sees another's rows."""
    engine = sqlalchemy.create_engine(module_database_url, pool_size=4, max_overflow=20)
    yield Store(engine)
    engine.dispose()


@pytest.fixture
def engine(database_url: str) -> Iterator[sqlalchemy.Engine]:
    """SQLAlchemy engine on this test's database; any number of connections, as races need them."""
    engine = sqlalchemy.create_engine(database_url, pool_size=4, max_overflow=20)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Places]:
    """A real Valkey of this pytest process's own; ``broker_url`` is its URL."""
    base = Path(tempfile.mkdtemp(prefix="orch-valkey-"))
    with EmbeddedStores(base, postgres=False) as stores:
        yield stores.places
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def broker_url(valkey_server: Places) -> str:
    """URL of an empty broker."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(str(valkey_server.valkey_socket))
        connection.sendall(b"FLUSHALL\r\n")
        assert connection.recv(64).startswith(b"+OK")
    return valkey_server.broker_url
