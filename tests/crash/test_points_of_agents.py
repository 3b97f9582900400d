"""Kill -9 at the points of an agent's run and of an accepted work item: the item goes on, each run is read once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.audit import audit
from orchestrator.engine import intake, operator
from orchestrator.ports import TrackerState
from tests.engine.real_engine import World, make_world, with_timings
from tests.engine.staged import Drives

POINTS = ("inbox.committed", "job.claimed", "job.spawned", "job.exited", "job.finished")


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> World:
    """One whose dead runs are seen dead by the first sweep."""
    return with_timings(make_world(tmp_path, database_url), reaper_dead_ticks=1)


@pytest.fixture
def drives(world: World) -> Iterator[Drives]:
    found = Drives(world.environment)
    yield found
    found.end()


@pytest.mark.crash_fleet
@pytest.mark.parametrize("point", POINTS)
def test_an_item_goes_on_whoever_dies_with_its_agent(world: World, drives: Drives, point: str) -> None:
    tracker = world.engine.project("DEMO").tracker
    item = tracker.add_item("Add a value", body="", priority=0, author="ann", key="DEMO-1", blocked_by=())  # type: ignore[attr-defined]  # the built-in tracker
    assert tracker.work_item(item).state is TrackerState.TO_ANALYSE
    worker = drives.start("work", item, failpoints=f"{point}=kill")
    _, errors = worker.communicate(timeout=110)
    assert worker.returncode == -signal.SIGKILL, errors
    intake.look_at_item(world.engine, "DEMO", item)
    world.run_until(lambda: world.stage(item) != "analysis", timeout_s=100)
    read = world.rows("SELECT count(*) FROM jobs WHERE outcome = 'verdict' AND stage = 'analysis'")
    assert read == [(1,)]
    operator.stop(world.engine, item, "ann")
    world.run_until(lambda: bool(world.rows("SELECT 1 FROM tasks WHERE stop_acknowledged_at IS NOT NULL")))
    assert audit(world.engine).breaches == ()
