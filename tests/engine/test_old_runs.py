"""The output of runs that are long over leaves the disk; that of a live item, a fresh or an unknown run stays."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters import run_directory as files
from orchestrator.engine import finishing, intake, operator
from orchestrator.engine.old_runs import forget_old_runs
from tests.engine.real_engine import World, make_world

DAY_S = 86400


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    """An item whose agent hangs in development: its runs of analysis and architecture are over, its task is not."""
    made = make_world(tmp_path, database_url)
    intake.add_item(made.engine, "DEMO", "Add a page", body="HANG", author="ann")
    made.run_until(lambda: len(run_dirs(made)) == 3)
    yield made
    made.engine.store.engine.dispose()
    for run_dir in run_dirs(made):
        made.engine.agents.stop(run_dir, 0.1)


def run_dirs(world: World) -> list[Path]:
    return list(world.engine.runs_dir.iterdir())


def ended_runs(world: World) -> list[Path]:
    return [run_dir for run_dir in run_dirs(world) if (run_dir / files.ACKNOWLEDGED).exists()]


def age(world: World, days: int) -> None:
    """As if that many days had gone by since every run ended."""
    for run_dir in ended_runs(world):
        os.utime(run_dir / files.ACKNOWLEDGED, (time.time() - days * DAY_S,) * 2)
    world.change(f"UPDATE jobs SET finished_at = finished_at - interval '{days} days'")


def end_the_item(world: World) -> None:
    operator.stop(world.engine, "DEMO-1", "ann")
    world.run_until(lambda: world.stage("DEMO-1") == "cancelled")
    # What the node's watch asks for when it finds the exit record of the run that was stopped.
    for (job_id,) in world.rows("SELECT id FROM jobs"):
        finishing.finish_job(world.engine, int(job_id))


def test_the_output_of_a_run_that_is_long_over_is_removed_and_its_row_stays(world: World) -> None:
    end_the_item(world)
    age(world, days=15)
    assert forget_old_runs(world.engine) == 3
    assert run_dirs(world) == []
    assert len(world.rows("SELECT 1 FROM agent_runs")) == 3
    assert forget_old_runs(world.engine) == 0


def test_a_live_item_keeps_its_runs_however_old(world: World) -> None:
    age(world, days=15)
    assert forget_old_runs(world.engine) == 0
    assert len(ended_runs(world)) == 2


def test_a_run_that_ended_last_week_stays(world: World) -> None:
    end_the_item(world)
    age(world, days=13)
    assert forget_old_runs(world.engine) == 0
    assert len(run_dirs(world)) == 3


def test_a_run_of_another_database_stays(world: World) -> None:
    end_the_item(world)
    age(world, days=15)
    stranger = run_dirs(world)[0].rename(world.engine.runs_dir / ("0" * 32))
    assert forget_old_runs(world.engine) == 2
    assert run_dirs(world) == [stranger]


def test_a_run_whose_directory_is_held_or_not_acknowledged_stays(world: World) -> None:
    run_dir = ended_runs(world)[0]
    held = files.take_lock(str(run_dir))
    assert held is not None
    world.engine.agents.forget(run_dir)
    os.close(held)
    (run_dir / files.ACKNOWLEDGED).rename(run_dir / "elsewhere")
    world.engine.agents.forget(run_dir)
    assert run_dir.exists()
