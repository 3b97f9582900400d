"""Whatever comes from a forge or a tracker is a hint: a fact is read again and ``drive`` is asked, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.stages import Actor, Stage
from orchestrator.engine import reconciler
from orchestrator.ports import TrackerState
from tests.acceptance.scene import MERGEABLE, Web, count, driven, effects, merges, path_of, world_of
from tests.engine.real_engine import World
from tests.engine.staged import Drives, Staged, reached, said, staged

PULL_REQUEST = {"number": 1, "state": "open", "merged": False, "head": {"ref": "orch/DEMO-1"}, "base": {"ref": "main"}}
FORGE_PATHS: dict[str, tuple[str, dict[str, object]]] = {
    "a pull request was opened": ("pull_request", {"action": "opened", "number": 1, "pull_request": PULL_REQUEST}),
    "a commit was pushed to it": (
        "pull_request",
        {"action": "synchronized", "number": 1, "pull_request": PULL_REQUEST},
    ),
    "it is said to be merged": (
        "pull_request",
        {"action": "closed", "number": 1, "pull_request": {**PULL_REQUEST, "state": "closed", "merged": True}},
    ),
    "a review asks for changes": (
        "pull_request_rejected",
        {"action": "reviewed", "review": {"type": "pull_request_review_rejected"}, "pull_request": PULL_REQUEST},
    ),
    "a status is red": ("status", {"state": "failure", "context": "ci", "sha": "0" * 40}),
}
TRACKER_DELIVERY: dict[str, object] = {
    "event": "issue",
    "action": "updated",
    "data": {"id": "1", "state": {"name": "To Analyse"}},
}


def roll_back_in_tracker(world: World, task: Staged) -> None:
    """A person moves the item back to where it began."""
    world.engine.project("DEMO").tracker.set_state(task.work_item, TrackerState.TO_ANALYSE)


def send(web: Web, task: Staged, path: str) -> None:
    if path == "the tracker":
        roll_back_in_tracker(web.world, task)
        web.deliver("plane", "issue", TRACKER_DELIVERY)
    else:
        web.deliver("gitea", *FORGE_PATHS[path])


PATHS = [*FORGE_PATHS, "the tracker"]


@pytest.mark.parametrize("path", PATHS)
def test_a_webhook_moves_nothing_itself_it_only_asks_for_a_drive(
    tmp_path: Path, database_url: str, drives: Drives, path: str
) -> None:
    web = Web.of(world_of(tmp_path, database_url, drives))
    task = staged(web.world, tmp_path, Stage.DEPLOY_STAGING)
    web.world.nudges.held.clear()
    send(web, task, path)
    assert web.world.stage(task.work_item) == "deploy-staging"
    assert (effects(web.world), merges(web.world)) == ([], 0)
    assert {name for name, _ in web.world.nudges.held} == {"drive"}
    assert {arguments[0] for _, arguments in web.world.nudges.held} == {task.task_id}
    web.world.deliver_all()
    assert web.world.stage(task.work_item) == "done", "and the door leads on"
    assert path_of(web.world)[-2:] == ["deploy", "done"]


def test_reaper_reconciler_and_every_webhook_path_defer_to_a_live_owner(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    """The reaper's grace is long over, and never reaps a finalizer that lives."""
    web, go = Web.of(world_of(tmp_path, database_url, drives)), tmp_path / "go"
    task = staged(web.world, tmp_path, Stage.DEPLOY_STAGING)
    owner = drives.start("drive", task.task_id, "finalizer", 1, failpoints=f"{MERGEABLE}.after=wait:{go}")
    reached(go)
    web.world.change("UPDATE jobs SET exited_at = now() - interval '2 hours' WHERE status = 'running'")
    before = (effects(web.world), path_of(web.world))
    assert said(drives.start("reap"))[-1]["deferred"] == 1
    assert count(web.world, "finalizer_defers_total") == 1
    assert reconciler.reconcile(web.world.engine).counts["deferred"] == 1
    web.world.nudges.held.clear()
    for path in PATHS:
        deferred = count(web.world, "lease_deferrals_total")
        send(web, task, path)
        assert web.world.nudges.held
        for _, (task_id, actor) in list(web.world.nudges.held):
            assert driven(web.world, int(str(task_id)), Actor(str(actor))) == "deferred"
        web.world.nudges.held.clear()
        assert count(web.world, "lease_deferrals_total") > deferred, path
        assert (effects(web.world), path_of(web.world), merges(web.world)) == (*before, 0), path
    assert web.world.rows("SELECT 1 FROM events WHERE kind = 'job.reaped'") == []
    go.touch()
    said(owner)
    assert web.world.stage(task.work_item) == "done"
    assert merges(web.world) == 1
