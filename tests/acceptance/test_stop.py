"""STOP wherever a task may stand: nothing lands after the acknowledgement, and what landed before it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.stages import Stage
from orchestrator.engine import intake, operator
from orchestrator.ports import TrackerState
from tests.acceptance.scene import deploying_world, driven, merges, world_of
from tests.engine.real_engine import World
from tests.engine.staged import Drives, Staged, reached, said, staged

ACKNOWLEDGED = "SELECT 1 FROM tasks WHERE stop_acknowledged_at IS NOT NULL"
REASONS = "SELECT reasons FROM tasks WHERE work_item = 'DEMO-1' ORDER BY id"


def to_the_end(world: World, item: str = "DEMO-1") -> None:
    world.run_until(lambda: bool(world.rows(ACKNOWLEDGED)))
    assert world.stage(item) == "cancelled"
    assert world.engine.project("DEMO").tracker.work_item(item).state is TrackerState.CANCELLED
    assert world.rows("SELECT 1 FROM jobs WHERE status IN ('queued', 'running')") == []
    assert world.rows("SELECT 1 FROM effects WHERE status = 'claimed'") == []


def comments(world: World) -> str:
    return "\n".join(str(row[0]) for row in world.rows("SELECT text FROM local_comments ORDER BY id"))


def test_a_stop_with_the_agent_queued_cancels_the_job_for_good(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world = world_of(tmp_path, database_url, drives)
    item = intake.add_item(world.engine, "DEMO", "Add a value", author="ann", key="DEMO-1")
    launch = list(world.nudges.held)
    operator.stop(world.engine, item, "ann")
    assert world.rows("SELECT status FROM jobs") == [("cancelled",)]
    to_the_end(world)
    world.nudges.held.extend(launch)
    world.run_until(lambda: not world.nudges.held)
    assert world.rows("SELECT status FROM jobs") == [("cancelled",)]
    assert world.rows("SELECT 1 FROM agent_runs") == []


def test_a_stop_in_the_merge_window_is_deferred_says_so_and_then_says_what_landed(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world, go = world_of(tmp_path, database_url, drives), tmp_path / "go"
    task = staged(world, tmp_path, Stage.DEPLOY_STAGING)
    owner = drives.start("drive", task.task_id, "monitor", 1, failpoints=f"effect.merge_pr.sent=wait:{go}")
    reached(go)
    world.engine.project("DEMO").tracker.set_state(task.work_item, TrackerState.STOP)
    intake.look_at_item(world.engine, "DEMO", task.work_item)
    assert driven(world, task.task_id) == "deferred"
    [(reasons,)] = world.rows(REASONS)
    assert reasons[0].startswith("STOP waits: monitor is inside")
    assert world.rows(ACKNOWLEDGED) == []
    go.touch()
    said(owner)
    to_the_end(world)
    assert merges(world) == 1
    assert "merged before it" in comments(world)
    assert world.rows("SELECT 1 FROM deployments") == []


def in_the_deploy_window(tmp_path: Path, database_url: str, drives: Drives) -> tuple[World, Staged]:
    """An item whose production deploy runs until ``hold`` is taken away."""
    world = deploying_world(tmp_path, database_url, drives)
    (tmp_path / "state" / "hold").touch()
    task = staged(world, tmp_path, Stage.DEPLOY_STAGING)
    world.run_until(lambda: bool(world.rows("SELECT 1 FROM deployments WHERE status = 'running'")))
    return world, task


def test_a_stop_in_the_deploy_window_comes_too_late_and_the_task_is_finished_honestly(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world, task = in_the_deploy_window(tmp_path, database_url, drives)
    assert operator.stop(world.engine, task.work_item, "ann") == "DEMO-1: STOP is requested"
    world.run_until(lambda: bool(world.rows("SELECT 1 FROM events WHERE kind = 'stop.too_late'")))
    assert world.rows(ACKNOWLEDGED) == []
    (tmp_path / "state" / "hold").unlink()
    world.run_until(lambda: world.stage(task.work_item) == "done")
    [(status, sha)] = world.rows("SELECT status, observed_sha FROM deployments")
    assert (status, sha) == ("succeeded", world.git("rev-parse", "main"))
    assert world.engine.project("DEMO").tracker.work_item(task.work_item).state is TrackerState.DONE


def test_a_rejection_in_the_deploy_window_comes_too_late_and_says_so(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world, task = in_the_deploy_window(tmp_path, database_url, drives)
    operator.reject(world.engine, task.work_item, "ann", "not on a Friday")
    driven(world, task.task_id)
    assert world.stage(task.work_item) == "deploy"
    (tmp_path / "state" / "hold").unlink()
    world.run_until(lambda: world.stage(task.work_item) == "done")
    assert world.rows("SELECT status FROM deployments") == [("succeeded",)]
    told = world.rows("SELECT request->>'text' FROM effects WHERE kind = 'notify' ORDER BY id DESC LIMIT 1")
    assert "That was too late: rejected by ann: not on a Friday" in told[0][0]


def test_a_stop_of_a_deploy_that_nobody_has_begun_is_in_time(tmp_path: Path, database_url: str, drives: Drives) -> None:
    world = deploying_world(tmp_path, database_url, drives)
    task = staged(world, tmp_path, Stage.DEPLOY_STAGING)
    killed = drives.start("drive", task.task_id, "monitor", 1, failpoints="effect.start_deploy_production.claimed=kill")
    killed.communicate(timeout=90)
    operator.stop(world.engine, task.work_item, "ann")
    to_the_end(world)
    assert [row[0] for row in world.rows("SELECT status FROM deployments")] == ["revoked"]
    assert not (tmp_path / "state" / "runs").exists(), "nothing was ever brought up"
    assert "merged before it" in comments(world)


def test_a_second_stop_and_one_after_the_end_change_nothing_and_to_analyse_begins_anew(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world = world_of(tmp_path, database_url, drives)
    task = staged(world, tmp_path, Stage.REVIEW)
    operator.stop(world.engine, task.work_item, "ann")
    assert "requested already" in operator.stop(world.engine, task.work_item, "ben")
    to_the_end(world)
    before = world.rows("SELECT count(*) FROM events")
    assert "cancelled already" in operator.stop(world.engine, task.work_item, "ben")
    tracker = world.engine.project("DEMO").tracker
    tracker.set_state(task.work_item, TrackerState.STOP)
    assert not intake.look_at_item(world.engine, "DEMO", task.work_item)
    assert world.rows("SELECT count(*) FROM events") == before
    tracker.set_state(task.work_item, TrackerState.TO_ANALYSE)
    assert intake.look_at_item(world.engine, "DEMO", task.work_item)
    assert world.rows("SELECT stage, stage_seq FROM tasks ORDER BY id") == [("cancelled", 4), ("analysis", 0)]


# --- what a cancelled task means for others --------------------------------------------------------------


def cancel_alone(world: World, task: Staged) -> None:
    """STOP to its end, with nobody else's nudges delivered."""
    operator.stop(world.engine, task.work_item, "ann")
    driven(world, task.task_id)
    assert world.rows(ACKNOWLEDGED)
    assert world.stage(task.work_item) == "cancelled"


@pytest.mark.parametrize("stopped", [True, False])
def test_a_blocker_that_was_cancelled_blocks_nobody(
    tmp_path: Path, database_url: str, drives: Drives, *, stopped: bool
) -> None:
    world = world_of(tmp_path, database_url, drives)
    first = staged(world, tmp_path, Stage.REVIEW)
    second = intake.add_item(
        world.engine, "DEMO", "After it", author="ann", key="DEMO-2", blocked_by=(first.work_item,)
    )
    [(second_id,)] = world.rows("SELECT id FROM tasks WHERE work_item = %s", second)
    if stopped:
        cancel_alone(world, first)
    else:
        world.change("UPDATE tasks SET parked_reason = 'r', parked_at = now() WHERE work_item = 'DEMO-1'")
    world.nudges.held.clear()
    driven(world, int(second_id))
    launched = [name for name, _ in world.nudges.held]
    reasons = world.rows("SELECT reasons FROM tasks WHERE work_item = 'DEMO-2'")[0][0]
    assert ("launch" in launched) is stopped
    assert any("blocked by DEMO-1" in one for one in reasons) is not stopped


def test_a_cancelled_task_leaves_the_serial_gate_to_the_next(tmp_path: Path, database_url: str, drives: Drives) -> None:
    world = world_of(tmp_path, database_url, drives)
    first, _ = (staged(world, tmp_path, Stage.REVIEW, key=key) for key in ("DEMO-1", "DEMO-2"))
    third = staged(world, tmp_path, Stage.ARCHITECTURE, key="DEMO-3")
    assert driven(world, third.task_id) == "waiting"
    [(reasons,)] = world.rows("SELECT reasons FROM tasks WHERE work_item = 'DEMO-3'")
    assert reasons[0].startswith("2 of 2 items of DEMO are between development and done")
    cancel_alone(world, first)
    driven(world, third.task_id)
    assert world.stage("DEMO-3") == "development"
