"""Fixtures of the adapters' tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy
from psycopg import sql

from orchestrator.store.database import Store
from tests.fixtures_stores import PostgresServer

pytest.register_assert_rewrite("tests.adapters.contracts.tracker_contract", "tests.adapters.contracts.forge_contract")


@pytest.fixture(scope="module")
def shared_store(postgres_server: PostgresServer, template_database: str) -> Iterator[Store]:
    """One database for the tests of a module: what they keep in it is told apart by ``project``, so none sees
    another's rows, and a database a test would cost more than the tests."""
    name = f"t_{uuid.uuid4().hex[:16]}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    postgres_server.run_sql(create.format(sql.Identifier(name), sql.Identifier(template_database)))
    engine = sqlalchemy.create_engine(postgres_server.url(name), pool_size=4, max_overflow=20)
    yield Store(engine)
    engine.dispose()
    postgres_server.run_sql(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def project() -> str:
    """A project of this test's own."""
    return f"P{uuid.uuid4().hex[:8]}"
