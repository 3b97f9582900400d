"""STOP from every stage: what runs is ended and seen dead, nothing lands after the acknowledgement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.domain.ownership import LostRace
from orchestrator.domain.stages import Actor, Stage
from orchestrator.engine import intake, operator, stopping
from orchestrator.engine.drive import DrivenKind, drive
from orchestrator.ports import PullRequestState, TrackerState
from orchestrator.store import deployments, jobs, read_models
from tests.engine.owners import owner_of, running_job
from tests.engine.real_engine import World, make_world
from tests.engine.staged import Drives, Staged, reached, said, staged
from tests.processes import Children, is_running

FAST = 'test: ["true"]\n'
WITH_PULL_REQUEST = (Stage.REVIEW, Stage.TESTING, Stage.DEPLOY_STAGING, Stage.DEPLOY)


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> World:
    return make_world(tmp_path, database_url, FAST)


@pytest.fixture
def drives(world: World) -> Iterator[Drives]:
    drives = Drives(world.environment)
    yield drives
    drives.end()


def merges(world: World) -> int:
    return len(world.git("log", "--format=%H", "--grep=Orchestrator-Effect", "main").split())


def cancelled(world: World, item: str) -> None:
    """To the end of a STOP: everything of it is gone, and only then the tracker says so."""
    world.run_until(lambda: bool(world.rows("SELECT 1 FROM tasks WHERE stop_acknowledged_at IS NOT NULL")))
    assert world.stage(item) == "cancelled"
    assert world.engine.project("DEMO").tracker.work_item(item).state is TrackerState.CANCELLED
    assert world.git("branch", "--list", "orch/*") == ""
    assert world.rows("SELECT 1 FROM jobs WHERE status IN ('queued', 'running')") == []
    assert world.rows("SELECT 1 FROM effects WHERE status = 'claimed'") == []
    assert world.rows("SELECT 1 FROM transition_lease WHERE released_at IS NULL") == []
    assert world.engine.project("DEMO").workspaces.worktrees() == []


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage not in (Stage.DONE, Stage.CANCELLED)])
def test_a_stop_cancels_from_every_stage_and_leaves_nothing_behind(world: World, tmp_path: Path, stage: Stage) -> None:
    task = staged(world, tmp_path, stage)
    operator.stop(world.engine, task.work_item, "ann")
    cancelled(world, task.work_item)
    assert merges(world) == 0
    if stage in WITH_PULL_REQUEST:
        found = world.engine.project("DEMO").forge.pull_request(1)
        assert found.state is PullRequestState.CLOSED


def test_a_stop_ends_the_agent_that_runs_and_says_what_it_saw_dead(world: World) -> None:
    item = intake.add_item(world.engine, "DEMO", "Add a value", body="HANG", author="ann")
    started = "SELECT 1 FROM agent_runs r JOIN jobs j ON j.id = r.job_id WHERE j.stage = 'development'"
    world.run_until(lambda: bool(world.rows(f"{started} AND r.owner_pid IS NOT NULL")), timeout_s=100)
    [row] = world.rows("SELECT owner_pid FROM agent_runs ORDER BY id DESC LIMIT 1")
    assert is_running(row[0])
    assert operator.stop(world.engine, item, "ann") == f"{item}: STOP is requested"
    cancelled(world, item)
    assert not is_running(row[0])
    [proof] = world.rows("SELECT detail->'proof' FROM events WHERE kind = 'stop.killed'")
    assert proof[0]
    with world.engine.store.snapshot() as connection:
        page = read_models.item(connection, item)
    assert page is not None and page.stop is not None
    [agent] = page.stop.deaths
    assert agent.signals[0].startswith("SIGTERM at ") and agent.dead_at
    assert page.stop.landed == ()
    comments = world.rows("SELECT text FROM local_comments")
    assert any("is cancelled" in str(comment[0]) for comment in comments)


def test_a_stop_waits_for_a_live_owner_and_lets_it_claim_nothing_more(
    world: World, tmp_path: Path, drives: Drives
) -> None:
    task, go = staged(world, tmp_path, Stage.DEPLOY_STAGING), tmp_path / "go"
    owner = drives.start("drive", task.task_id, "monitor", 1, failpoints=f"gate.check_coverage.before=wait:{go}")
    reached(go)
    operator.stop(world.engine, task.work_item, "ann")
    found = drive(world.engine, task.task_id, Actor.OPERATOR)
    assert found.kind is DrivenKind.DEFERRED
    assert found.reasons[0].startswith("STOP waits: monitor is inside")
    go.touch()
    assert "STOP" in str(said(owner))
    [refused] = world.rows("SELECT actor, detail->>'what' FROM events WHERE kind = 'stop.refused'")
    assert refused == ("monitor", "deploy-staging -> deploy")
    cancelled(world, task.work_item)
    assert merges(world) == 0


def test_a_stop_after_the_merge_has_landed_cancels_and_says_what_had_landed(
    world: World, tmp_path: Path, drives: Drives
) -> None:
    task = staged(world, tmp_path, Stage.DEPLOY_STAGING)
    killed = drives.start("drive", task.task_id, "monitor", 1, failpoints="effect.merge_pr.answered=kill")
    killed.communicate(timeout=90)
    assert merges(world) == 1
    operator.stop(world.engine, task.work_item, "ann")
    world.run_until(lambda: bool(world.rows("SELECT 1 FROM tasks WHERE stop_acknowledged_at IS NOT NULL")))
    assert world.stage(task.work_item) == "cancelled"
    assert [row[0] for row in world.rows("SELECT status FROM effects WHERE kind = 'merge_pr'")] == ["confirmed"]
    assert any("merged before it" in str(row[0]) for row in world.rows("SELECT text FROM local_comments"))


def test_a_stop_after_a_claim_of_a_dead_owner_makes_the_merge_impossible(
    world: World, tmp_path: Path, drives: Drives
) -> None:
    task = staged(world, tmp_path, Stage.DEPLOY_STAGING)
    killed = drives.start("drive", task.task_id, "monitor", 1, failpoints="effect.merge_pr.sent=kill")
    killed.communicate(timeout=90)
    operator.stop(world.engine, task.work_item, "ann")
    cancelled(world, task.work_item)
    assert [row[0] for row in world.rows("SELECT status FROM effects WHERE kind = 'merge_pr'")] == ["revoked"]
    assert merges(world) == 0


def test_a_stop_takes_back_a_deploy_that_no_deployer_has_won(world: World, tmp_path: Path) -> None:
    """Its row was asked for and the request is confirmed; whichever deployer comes for it later finds it revoked."""
    task = staged(world, tmp_path, Stage.DEPLOY)
    with world.engine.store.transaction() as connection:
        asked = deployments.request(
            connection, task_id=task.task_id, visit=6, project="DEMO", environment="production", sha=task.head
        )
    operator.stop(world.engine, task.work_item, "ann")
    cancelled(world, task.work_item)
    assert world.rows("SELECT status FROM deployments") == [("revoked",)]
    with world.engine.store.transaction() as connection:
        assert isinstance(deployments.win_running(connection, asked.id, world.engine.owner()), LostRace)


def test_after_a_stop_the_item_may_begin_anew_as_another_task(world: World, tmp_path: Path) -> None:
    task: Staged = staged(world, tmp_path, Stage.REVIEW)
    operator.stop(world.engine, task.work_item, "ann")
    cancelled(world, task.work_item)
    world.engine.project("DEMO").tracker.set_state(task.work_item, TrackerState.TO_ANALYSE)
    intake.look_at_item(world.engine, "DEMO", task.work_item)
    assert world.stage(task.work_item) == "analysis"
    assert len(world.rows("SELECT 1 FROM tasks")) == 2


def test_a_stop_that_comes_after_the_end_says_so(world: World, tmp_path: Path) -> None:
    task = staged(world, tmp_path, Stage.REVIEW)
    operator.stop(world.engine, task.work_item, "ann")
    assert "requested already" in operator.stop(world.engine, task.work_item, "ben")
    cancelled(world, task.work_item)
    assert "cancelled already" in operator.stop(world.engine, task.work_item, "ben")


def test_a_node_is_not_told_to_end_an_agent_of_a_task_without_a_stop(world: World, tmp_path: Path) -> None:
    task = staged(world, tmp_path, Stage.REVIEW)
    assert task.job_id is not None
    stopping.stop_agent(world.engine, task.job_id)
    with world.engine.store.transaction() as connection:
        job = jobs.get(connection, task.job_id)
    assert job is not None and job.exit_code == 0


def test_a_node_that_is_asked_to_end_an_agent_about_to_start_waits_for_it(world: World, children: Children) -> None:
    """An exit written now would let the STOP go on, and the agent would begin its work after it."""
    launcher = children.start()
    job = running_job(world, owner_of(world, launcher.pid))
    operator.stop(world.engine, "DEMO-1", "ann")
    world.nudges.held.clear()
    stopping.stop_agent(world.engine, job)
    assert world.rows("SELECT 1 FROM agent_runs WHERE exited_at IS NOT NULL") == []
    assert world.rows("SELECT 1 FROM events WHERE kind = 'stop.killed'") == []
    launcher.kill()
    launcher.wait()
    stopping.stop_agent(world.engine, job)
    assert world.rows("SELECT exit_reason FROM agent_runs") == [("stopped",)]
    [proof] = world.rows("SELECT detail->'proof' FROM events WHERE kind = 'stop.killed'")
    assert proof[0] == ["no process was ever started"]
