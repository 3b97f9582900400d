"""The stand of all cells of one test process: a database, the outside in a process of its own, and the nursery."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from psycopg import sql

from orchestrator.embedded import EmbeddedStores
from orchestrator.store.database import connect
from orchestrator.store.migrations import upgrade
from tests.crash import report as page
from tests.crash.fleet import with_the_real_wall_clock
from tests.crash.nursery import ROOT, Nursery
from tests.crash.scene import Stand
from tests.fixtures_stores import PostgresServer
from tests.outside.client import connection_to

_CELL: Final = re.compile(r"whatever_strikes\w*\[(.+)\]")


@pytest.fixture(autouse=True)
def the_real_wall_clock_again() -> Iterator[None]:
    """Cells shift the wall clock of this process's modules; the tests after them must not see that."""
    yield
    with_the_real_wall_clock()


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
    with _stand(crash_database, tmp_path_factory.mktemp("crash")) as found:
        yield found


@contextmanager
def _stand(database_url: str, folder: Path) -> Iterator[Stand]:
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
    nursery, store = Nursery(), connect(database_url, pool_size=2)
    yield Stand(store, database_url, connection, nursery, folder, log, places)
    nursery.end()
    connection.close()
    outside.stdin.close()
    outside.wait(30)
    outside.stdout.close()
    store.engine.dispose()


@pytest.fixture(scope="session")
def fragile_stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """A stand with a Postgres of its own that keeps what it committed, and that a cell may stop at once."""
    base = Path(tempfile.mkdtemp(prefix="orch-crash-"))
    stores = EmbeddedStores(base, valkey=False)
    stores.start()
    upgrade(stores.database_url)
    with _stand(stores.database_url, tmp_path_factory.mktemp("fragile")) as found:
        found.postgres = stores
        yield found
    stores.stop()
    shutil.rmtree(base, ignore_errors=True)


# --- the page of results


_results: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What became of each cell; of one that failed in its set-up too."""
    found = _CELL.search(report.nodeid)
    if found and (report.when == "call" or report.failed):
        _results[found[1]] = page.HOLDS if report.passed else page.BROKEN


def pytest_sessionfinish(session: pytest.Session) -> None:
    """``CRASH_MATRIX_PAGE`` names the page; only the process that collects from all workers writes it."""
    where = os.environ.get("CRASH_MATRIX_PAGE")
    if where and _results and not hasattr(session.config, "workerinput"):
        page.update(Path(where), _results)
