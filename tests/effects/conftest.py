"""Fixtures of the effects' tests: one database a module, one task a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from orchestrator import failpoints
from orchestrator.domain.stages import Stage
from orchestrator.store.database import Store
from tests.effects.world import World, make_world

WorldMaker = Callable[[Stage], World]

pytest.register_assert_rewrite("tests.adapters.contracts.tracker_contract", "tests.adapters.contracts.forge_contract")


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
