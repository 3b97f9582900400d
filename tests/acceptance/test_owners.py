"""Who owns a task, seen from outside: processes that are killed, stopped or too slow, and the switches."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.stages import Stage
from orchestrator.engine import reaper
from orchestrator.engine.context import Engine
from orchestrator.ports import Notification
from tasks import startup
from tests.acceptance.scene import MERGEABLE, count, driven, effects, merges, path_of, with_engine, world_of
from tests.engine.real_engine import World
from tests.engine.staged import Drives, Staged, reached, staged
from tests.processes import is_running

LEASE_HELD = "SELECT 1 FROM transition_lease WHERE released_at IS NULL"
LANE_HELD = "SELECT 1 FROM merge_lease WHERE released_at IS NULL"


def in_the_gates(
    tmp_path: Path, world: World, drives: Drives, **settings: str
) -> tuple[Staged, subprocess.Popen[str], Path]:
    """A finalizer that stands inside the merge lane, between a gate and the merge."""
    task, go = staged(world, tmp_path, Stage.DEPLOY_STAGING), tmp_path / "go"
    owner = drives.start("drive", task.task_id, "finalizer", 1, failpoints=f"{MERGEABLE}.after=wait:{go}", **settings)
    reached(go)
    return task, owner, go


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(30)


def not_read_yet(world: World) -> None:
    """As if the job's agent were still running: the ceiling of the job itself is what is passed then."""
    world.change(
        "UPDATE jobs SET settled_at = NULL, outcome = NULL, verdict = NULL, exited_at = NULL WHERE status = 'running'"
    )


def over_the_ceiling(world: World) -> None:
    world.change("UPDATE jobs SET started_at = now() - interval '7 hours' WHERE status = 'running'")
    world.change("UPDATE transition_lease SET acquired_at = now() - interval '7 hours'")


# --- dead owners -----------------------------------------------------------------------------------------


def test_the_lease_and_the_lane_of_a_killed_owner_are_freed_by_the_sweep_without_git(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world = world_of(tmp_path, database_url, drives)
    task, owner, _ = in_the_gates(tmp_path, world, drives)
    kill(owner)
    assert world.rows(LEASE_HELD) and world.rows(LANE_HELD)
    (tmp_path / "empty").mkdir()
    without_git = with_engine(world, PATH=str(tmp_path / "empty"))
    summary = reaper.reap(without_git.engine)
    assert not summary.failures
    assert (summary.counts["dead owner freed"], summary.counts["unused lane freed"]) == (1, 1)
    assert (world.rows(LEASE_HELD), world.rows(LANE_HELD)) == ([], [])
    assert ("drive", (task.task_id, "reaper")) in without_git.nudges.held
    assert driven(world, task.task_id) == "waiting"
    assert (world.stage(task.work_item), merges(world)) == ("done", 1)


def test_the_lease_of_a_killed_owner_is_freed_when_a_worker_starts(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world = world_of(tmp_path, database_url, drives)
    task, owner, _ = in_the_gates(tmp_path, world, drives)
    assert list(startup.recover(world.engine.store, world.engine.host)) == [], "a living owner keeps it"
    kill(owner)
    assert list(startup.recover(world.engine.store, world.engine.host)) == [(task.task_id, task.work_item)]
    assert world.rows(LEASE_HELD) == []


# --- tier 3 ----------------------------------------------------------------------------------------------


def test_an_owner_that_stands_still_past_the_ceiling_is_killed_and_its_work_is_done_once_by_another(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    """Stopped is alive: only the ceiling ends it, by its full identity, and takes the lease away by force."""
    world = world_of(tmp_path, database_url, drives)
    task, owner, _ = in_the_gates(tmp_path, world, drives)
    os.kill(owner.pid, signal.SIGSTOP)
    [(epoch,)] = world.rows("SELECT lease_epoch FROM tasks")
    assert reaper.reap(world.engine).counts["tier 3"] == 0
    over_the_ceiling(world)
    assert reaper.reap(world.engine).counts["tier 3"] == 1
    assert not is_running(owner.pid)
    assert world.rows(LEASE_HELD) == []
    assert world.rows("SELECT lease_epoch FROM tasks")[0][0] > epoch
    [(why,)] = world.rows("SELECT detail->>'why' FROM events WHERE kind = 'lease.forced'")
    assert why.startswith("tier 3: ")
    world.run_until(lambda: world.stage(task.work_item) == "done")
    assert merges(world) == 1


class People:
    """Whom alerts reach."""

    name = "people"

    def __init__(self) -> None:
        self.sent: list[Notification] = []

    def send(self, notification: Notification) -> None:
        self.sent.append(notification)


class HostOfALoser:
    """The host, where another reaper finishes its sweep just before this one's kill."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._host, self._done = engine, engine.host, False

    def __getattr__(self, name: str) -> object:
        return getattr(self._host, name)

    def kill(self, owner: object, deadline_s: float) -> bool:
        if not self._done:
            self._done = True
            reaper.reap(self._engine)
        return True


@pytest.mark.parametrize("with_job", [True, False])
def test_a_reaper_that_loses_the_flip_records_nudges_and_tells_nothing(
    tmp_path: Path, database_url: str, drives: Drives, with_job: bool
) -> None:
    world = world_of(tmp_path, database_url, drives)
    in_the_gates(tmp_path, world, drives)
    if with_job:
        not_read_yet(world)
    over_the_ceiling(world)
    winner = with_engine(world)
    people = People()
    losing = HostOfALoser(winner.engine)
    world.engine = replace(world.engine, host=losing, notifiers=(people,))  # type: ignore[arg-type]  # passes all on
    world.nudges.held.clear()
    summary = reaper.reap(world.engine)
    assert not summary.failures
    assert summary.counts["tier 3"] == 0
    assert people.sent == []
    assert world.nudges.held == type(world.nudges.held)()
    assert count(world, "reaps_total", "3") == 1
    assert [name for name, _ in winner.nudges.held].count("drive") >= 1


# --- switches --------------------------------------------------------------------------------------------


OFF = {"ORCH_TRANSITION_LEASE_ENABLED": "off"}


def test_with_the_lease_off_the_marker_of_the_finalizer_is_the_fallback_and_the_stages_are_the_same(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world = world_of(tmp_path, database_url, drives, ORCH_REAPER_FINALIZE_GRACE_S="0.1", **OFF)
    task, owner, go = in_the_gates(tmp_path, world, drives)
    assert world.rows(LEASE_HELD) == [], "nothing was acquired"
    world.change("UPDATE jobs SET exited_at = now() - interval '2 hours' WHERE status = 'running'")
    assert reaper.reap(world.engine).counts["deferred"] == 1
    kill(owner)
    assert reaper.reap(world.engine).counts["tier 2"] == 1
    world.deliver_all()
    assert (world.stage(task.work_item), merges(world)) == ("done", 1)
    assert path_of(world) == [
        "architecture",
        "development",
        "review",
        "testing",
        "deploy-staging",
        "deploy",
        "done",
    ]
    assert {status for _, status, _ in effects(world)} == {"confirmed"}
    assert not go.exists()


def test_the_lease_holds_in_the_projects_of_its_scope_alone(tmp_path: Path, database_url: str, drives: Drives) -> None:
    world = world_of(tmp_path, database_url, drives)
    task, _, _ = in_the_gates(tmp_path, world, drives)
    for scope, ends in (("OTHER,DEMO", "deferred"), ("*", "deferred"), ("OTHER", "waiting")):
        assert driven(with_engine(world, ORCH_TRANSITION_LEASE_REPOS=scope), task.task_id) == ends, scope
    assert world.stage(task.work_item) == "done", "out of scope a live owner keeps nobody out"
    assert merges(world) == 1
