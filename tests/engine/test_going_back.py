"""The way back to development takes the lease like every other, and leaves no claim behind that could still land."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.domain.errors import LostRaceError
from orchestrator.domain.ownership import Committed, HeldLease
from orchestrator.domain.stages import Actor, Stage
from orchestrator.engine import operator
from orchestrator.engine.drive import DrivenKind, drive
from orchestrator.store import leases, stage_commits
from orchestrator.store.stage_commits import StageCommit
from tests.engine.real_engine import World, make_world
from tests.engine.staged import Drives, reached, said, staged


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> World:
    return make_world(tmp_path, database_url, 'test: ["true"]\n')


@pytest.fixture
def drives(world: World) -> Iterator[Drives]:
    drives = Drives(world.environment)
    yield drives
    drives.end()


def merges(world: World) -> int:
    return len(world.git("log", "--format=%H", "--grep=Orchestrator-Effect", "main").split())


def test_a_rejection_waits_for_the_owner_that_merges(world: World, tmp_path: Path, drives: Drives) -> None:
    """Whoever rejects at the last moment is too late or in time, and never both."""
    task, go = staged(world, tmp_path, Stage.DEPLOY_STAGING), tmp_path / "go"
    owner = drives.start("drive", task.task_id, "monitor", 1, failpoints=f"effect.merge_pr.sent=wait:{go}")
    reached(go)
    operator.reject(world.engine, task.work_item, "ann", "not like this")
    found = drive(world.engine, task.task_id, Actor.OPERATOR)
    assert found.kind is DrivenKind.DEFERRED, found
    assert "monitor is inside" in found.reasons[0]
    assert world.stage(task.work_item) == "deploy-staging"
    go.touch()
    said(owner)
    world.run_until(lambda: world.stage(task.work_item) == "done")
    assert merges(world) == 1


def test_nobody_goes_back_before_the_merge_of_a_dead_owner_is_made_impossible(
    world: World, tmp_path: Path, drives: Drives
) -> None:
    """What the dead owner sent may be on its way still: it must find nothing that it could merge."""
    task = staged(world, tmp_path, Stage.DEPLOY_STAGING)
    killed = drives.start("drive", task.task_id, "monitor", 1, failpoints="effect.merge_pr.sent=kill")
    killed.communicate(timeout=90)
    [(request,)] = world.rows("SELECT request FROM effects WHERE kind = 'merge_pr'")
    before = world.git("rev-parse", "main")
    operator.reject(world.engine, task.work_item, "ann", "not like this")
    drive(world.engine, task.task_id, Actor.OPERATOR)
    assert world.stage(task.work_item) == "development", world.reasons()
    ports = world.engine.project("DEMO")
    with contextlib.suppress(LostRaceError):
        ports.workspaces.publish(request["branch"], request["candidate"], expected_old=request["tip"])
    with contextlib.suppress(LostRaceError):
        ports.forge.merge_pull_request(int(request["number"]), expected_head=request["candidate"], message="late")
    assert world.git("rev-parse", "main") == before
    assert merges(world) == 0
    assert [row[0] for row in world.rows("SELECT status FROM effects WHERE kind = 'merge_pr'")] == ["revoked"]


def test_an_owner_that_slept_through_another_visit_commits_nothing(
    world: World, tmp_path: Path, drives: Drives
) -> None:
    """Review, development, review again: the stage is the same, and what it was judged on is not."""
    task, go = staged(world, tmp_path, Stage.REVIEW), tmp_path / "go"
    sleeper = drives.start("drive", task.task_id, "monitor", 1, failpoints=f"stage.before_commit=wait:{go}")
    reached(go)
    operator.release_lease(world.engine, task.work_item, "ann")
    [(seq,)] = world.rows("SELECT stage_seq FROM tasks")
    _commit(world, task.task_id, StageCommit(Stage.REVIEW, seq, Stage.DEVELOPMENT))
    _commit(world, task.task_id, StageCommit(Stage.DEVELOPMENT, seq + 1, Stage.REVIEW))
    go.touch()
    assert [one[0] for one in said(sleeper)] == ["lost"]
    assert world.stage(task.work_item) == "review"
    assert world.rows("SELECT stage_seq FROM tasks") == [(seq + 2,)]


def _commit(world: World, task_id: int, step: StageCommit) -> None:
    engine = world.engine
    with engine.store.transaction("operator") as connection:
        held = leases.acquire(connection, task_id, leases.Entry("", "operator", engine.owner()), engine.host)
        assert isinstance(held, HeldLease)
        assert isinstance(stage_commits.commit_stage_cas(connection, held, step), Committed)
