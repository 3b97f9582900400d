"""A lease is given back however long the database is away: its owner lives, so nobody else could ever take it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from orchestrator.domain.ownership import Busy
from orchestrator.domain.stages import Actor, Stage
from orchestrator.embedded import EmbeddedStores
from orchestrator.engine.region import enter
from orchestrator.store.database import connect
from orchestrator.store.migrations import upgrade
from tests.engine.real_engine import World, make_world
from tests.engine.staged import staged

HELD = "SELECT 1 FROM transition_lease WHERE released_at IS NULL"


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[EmbeddedStores]:
    """A Postgres of its own, which a test may stop."""
    found = EmbeddedStores(tmp_path / "stores", valkey=False)
    found.start()
    upgrade(found.database_url)
    yield found
    found.stop()


def inside(world: World, task_id: int, entered: threading.Event, may_leave: threading.Event) -> None:
    ports = world.engine.project("DEMO")
    view = world.engine.view(task_id, ports.config)
    assert view is not None
    with enter(world.engine, ports, view, edge="testing -> deploy-staging", actor=Actor.MONITOR) as region:
        assert not isinstance(region, Busy)
        entered.set()
        assert may_leave.wait(60)


def test_a_lease_that_is_left_while_the_database_is_away_is_given_back_when_it_is_there_again(
    stores: EmbeddedStores, tmp_path: Path
) -> None:
    world = make_world(tmp_path, stores.database_url)
    task = staged(world, tmp_path, Stage.TESTING)
    entered, may_leave = threading.Event(), threading.Event()
    owner = threading.Thread(target=inside, args=(world, task.task_id, entered, may_leave))
    owner.start()
    assert entered.wait(60)
    assert world.rows(HELD)
    stores.stop()
    may_leave.set()
    owner.join(2)
    assert owner.is_alive(), "it insists while there is no database"
    stores.start()
    owner.join(60)
    assert not owner.is_alive()
    assert world.rows(HELD) == []
    world.engine.store.engine.dispose()


def test_who_does_not_want_to_wait_for_ever_gets_the_error(tmp_path: Path) -> None:
    store, pauses = connect(f"postgresql+psycopg://nobody@/none?host={tmp_path}"), list[float]()
    with pytest.raises(OperationalError):
        store.insist(lambda connection: None, "test", patience_s=0.0, sleep=pauses.append)
    assert pauses == []
