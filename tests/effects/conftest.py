"""Fixtures of the effects' tests: one database a module, one task a test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy
from psycopg import sql

from orchestrator import failpoints
from orchestrator.domain.stages import Stage
from orchestrator.store.database import Store
from tests.effects.world import World, make_world
from tests.fixtures_stores import PostgresServer

WorldMaker = Callable[[Stage], World]

pytest.register_assert_rewrite("tests.adapters.contracts.tracker_contract", "tests.adapters.contracts.forge_contract")


@pytest.fixture(scope="module")
def shared_store(postgres_server: PostgresServer, template_database: str) -> Iterator[Store]:
    """One database for the tests of a module; each has a project and a task of its own in it."""
    name = f"t_{uuid.uuid4().hex[:16]}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    postgres_server.run_sql(create.format(sql.Identifier(name), sql.Identifier(template_database)))
    engine = sqlalchemy.create_engine(postgres_server.url(name), pool_size=4, max_overflow=20)
    yield Store(engine)
    engine.dispose()
    postgres_server.run_sql(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def make(shared_store: Store) -> WorldMaker:
    """Makes a world whose task stands at a stage."""
    return lambda stage: make_world(shared_store, stage)


@pytest.fixture
def world(shared_store: Store) -> World:
    """A task in ``deploy-staging`` with an open pull request."""
    made = make_world(shared_store)
    made.open_request()
    return made


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    failpoints.arm("")
