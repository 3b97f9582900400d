"""The one door, entered by many real processes at once: one owner, and losers that leave nothing behind."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.domain.stages import Actor, Stage
from orchestrator.engine import operator
from orchestrator.engine.drive import Driven, drive
from tests.engine.real_engine import STAGES, World, make_world
from tests.engine.staged import Drives, Staged, reached, said, staged

DEPLOY_STAGING = Stage.DEPLOY_STAGING
GATE = "gate.check_branch_mergeable"


@pytest.fixture
def drives() -> Iterator[Drives]:
    drives = Drives({})
    yield drives
    drives.end()


def world_of(tmp_path: Path, database_url: str, drives: Drives, test: str = "true", **settings: str) -> World:
    """A world in which deploy-staging has an agent too, so that its end waits for a finalizer. ``test`` is a line of
    shell."""
    command = json.dumps(["sh", "-c", test]).replace("{", "{{").replace("}", "}}")
    stages = (*STAGES, "deploy-staging")
    world = make_world(tmp_path, database_url, f"test: {command}\n", stages=stages, **settings)
    drives.environment = world.environment
    return world


def driven(world: World, task: Staged, actor: Actor = Actor.MONITOR) -> Driven:
    return drive(world.engine, task.task_id, actor)


def effects(world: World) -> list[tuple[object, ...]]:
    """Every ledger row: its kind, how it ended, how often it was sent."""
    found = world.rows("SELECT kind, status, sends FROM effects ORDER BY id")
    return [(row[0], row[1], row[2]) for row in found]


def merges(world: World) -> int:
    return len(world.git("log", "--format=%H", "--grep=Orchestrator-Effect", "main").split())


def count(world: World, name: str) -> int:
    return sum(row[0] for row in world.rows("SELECT value FROM counters WHERE name = %s", name))


def path_of(world: World) -> list[str]:
    rows = world.rows("SELECT detail->>'to' FROM events WHERE kind = 'stage.committed' ORDER BY id")
    return [str(row[0]) for row in rows]


def test_of_eight_drives_from_four_processes_one_owns_the_task_and_each_effect_is_done_once(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world, go = world_of(tmp_path, database_url, drives), tmp_path / "go"
    task = staged(world, tmp_path, DEPLOY_STAGING)
    started = [
        drives.start("drive", task.task_id, "monitor", 2, failpoints=f"gate.check_staging_healthy.before=wait:{go}")
        for _ in range(4)
    ]
    reached(go)
    world.until(lambda: count(world, "lease_deferrals_total") == 7, timeout_s=90)
    go.touch()
    ended = Counter(str(one[0]) for process in started for one in said(process))
    assert ended == {"waiting": 1, "deferred": 7}
    assert world.stage(task.work_item) == "done", world.reasons()
    assert merges(world) == 1
    assert {(status, sends) for _, status, sends in effects(world)} <= {("confirmed", 0), ("confirmed", 1)}
    assert path_of(world)[-2:] == ["deploy", "done"]


def test_an_owner_whose_lease_was_taken_away_commits_nothing_and_does_no_effect(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world, go = world_of(tmp_path, database_url, drives), tmp_path / "go"
    task = staged(world, tmp_path, DEPLOY_STAGING)
    zombie = drives.start("drive", task.task_id, "monitor", 1, failpoints=f"stage.before_commit=wait:{go}")
    reached(go)
    operator.release_lease(world.engine, task.work_item, "ann")
    world.run_until(lambda: world.stage(task.work_item) == "done")
    before = (effects(world), path_of(world), merges(world))
    go.touch()
    assert [one[0] for one in said(zombie)] == ["lost"]
    assert (effects(world), path_of(world), merges(world)) == before
    assert before[2] == 1
    assert count(world, "cas_lost_total") == 1


def test_an_owner_whose_lease_was_taken_away_inside_a_gate_merges_nothing(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world, go = world_of(tmp_path, database_url, drives), tmp_path / "go"
    task = staged(world, tmp_path, DEPLOY_STAGING)
    zombie = drives.start("drive", task.task_id, "monitor", 1, failpoints=f"{GATE}.after=wait:{go}")
    reached(go)
    operator.release_lease(world.engine, task.work_item, "ann")
    go.touch()
    assert [one[0] for one in said(zombie)] == ["lost"]
    assert merges(world) == 0
    assert effects(world) == []
    assert world.stage(task.work_item) == "deploy-staging"


# --- the incident ----------------------------------------------------------------------------------------


def incident(tmp_path: Path, database_url: str, drives: Drives, **settings: str) -> tuple[World, Staged]:
    """A finalizer slow inside the gates of deploy-staging -> deploy; a reaper whose grace has passed and that takes
    it for dead; a re-test that is red by now. Then the finalizer goes on."""
    go, red = tmp_path / "go", tmp_path / "red"
    world = world_of(tmp_path, database_url, drives, f"test ! -e {red}", ORCH_REAPER_FINALIZE_GRACE_S="0.1", **settings)
    task = staged(world, tmp_path, DEPLOY_STAGING)
    finalizer = drives.start("drive", task.task_id, "finalizer", 1, failpoints=f"{GATE}.after=wait:{go}")
    reached(go)
    red.touch()
    said(drives.start("reap"))
    red.unlink()
    go.touch()
    said(finalizer)
    return world, task


def test_the_incident_without_the_lease_is_rolled_back_and_merged_at_once(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world, task = incident(
        tmp_path,
        database_url,
        drives,
        ORCH_TRANSITION_LEASE_ENABLED="off",
        ORCH_REAPER_FINALIZER_LIVENESS_ENABLED="off",
    )
    assert path_of(world)[-1] == "development"
    assert world.stage(task.work_item) == "development"
    assert merges(world) == 1


@pytest.mark.parametrize("believes_markers", ["on", "off"])
def test_the_incident_with_the_lease_is_one_merge_and_done(
    tmp_path: Path, database_url: str, drives: Drives, believes_markers: str
) -> None:
    """Also when the reaper does not look at who finalizes: the lease itself keeps its drive out."""
    world, task = incident(tmp_path, database_url, drives, ORCH_REAPER_FINALIZER_LIVENESS_ENABLED=believes_markers)
    assert "development" not in path_of(world)[-3:]
    assert world.stage(task.work_item) == "done", world.reasons()
    assert merges(world) == 1
    kinds = Counter(kind for kind, _, _ in effects(world))
    assert kinds["merge_pr"] == 1
    assert kinds["start_deploy_production"] <= 1
    counter = "finalizer_defers_total" if believes_markers == "on" else "lease_deferrals_total"
    assert count(world, counter) >= 1
