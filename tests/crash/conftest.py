"""The stand of all cells of one test process: a database, the outside in a process of its own, and the nursery."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest
from psycopg import sql

from orchestrator.store.database import connect
from tests.crash.nursery import ROOT, Nursery
from tests.crash.scene import Stand
from tests.fixtures_stores import PostgresServer
from tests.outside.client import connection_to


@pytest.fixture(scope="session")
def crash_database(postgres_server: PostgresServer, template_database: str) -> Iterator[str]:
    """URL of a database of this test process; each cell begins by clearing it."""
    name = f"t_{uuid.uuid4().hex[:16]}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    postgres_server.run_sql(create.format(sql.Identifier(name), sql.Identifier(template_database)))
    yield postgres_server.url(name)
    postgres_server.run_sql(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def stand(crash_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("crash")
    log, places = folder / "outside.log", folder / "outside"
    outside = subprocess.Popen(
        [sys.executable, "-m", "tests.outside.serve", str(log), str(places)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert outside.stdout is not None and outside.stdin is not None
    connection = connection_to(int(outside.stdout.readline()))
    nursery, store = Nursery(), connect(crash_database, pool_size=2)
    yield Stand(store, crash_database, connection, nursery, folder, log, places)
    nursery.end()
    connection.close()
    outside.stdin.close()
    outside.wait(30)
    outside.stdout.close()
    store.engine.dispose()
