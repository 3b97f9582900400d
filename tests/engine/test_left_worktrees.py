"""A worktree on which no live task works leaves the node; the effect that removes it may have run on another one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.domain.stages import Stage
from orchestrator.engine import left_worktrees, operator
from orchestrator.engine.left_worktrees import remove_left_worktrees
from orchestrator.ports import Workspaces
from tests.engine.real_engine import World, make_world
from tests.engine.staged import Staged, staged


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    made = make_world(tmp_path, database_url)
    yield made
    made.engine.store.engine.dispose()


@pytest.fixture
def task(world: World, tmp_path: Path) -> Staged:
    """A task that waits for its review, and a worktree of it on this node."""
    found = staged(world, tmp_path, Stage.REVIEW)
    workspaces(world).prepare("orch/DEMO-1")
    return found


def workspaces(world: World) -> Workspaces:
    return world.engine.project("DEMO").workspaces


def end_elsewhere(world: World, item: str) -> None:
    """The task is stopped, and its cleanup runs where nothing was: the worktree of this node is put back."""
    operator.stop(world.engine, item, "ann")
    world.run_until(lambda: bool(world.rows("SELECT 1 FROM tasks WHERE stop_acknowledged_at IS NOT NULL")))
    assert not workspaces(world).exists("orch/DEMO-1")
    workspaces(world).prepare("orch/DEMO-1")


def test_the_worktree_of_a_task_that_ended_on_another_node_is_removed(world: World, task: Staged) -> None:
    end_elsewhere(world, task.work_item)
    assert remove_left_worktrees(world.engine) == 1
    assert workspaces(world).worktrees() == []
    assert remove_left_worktrees(world.engine) == 0


def test_the_worktree_of_a_live_task_stays(world: World, task: Staged) -> None:
    assert remove_left_worktrees(world.engine) == 0
    assert workspaces(world).exists("orch/DEMO-1")


def test_the_worktree_of_a_task_whose_stop_is_not_acknowledged_stays(world: World, task: Staged) -> None:
    end_elsewhere(world, task.work_item)
    world.change("UPDATE tasks SET stop_acknowledged_at = NULL")
    assert remove_left_worktrees(world.engine) == 0


def test_a_branch_that_a_task_takes_up_between_look_and_removal_stays(
    world: World, task: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = [frozenset[str]()]  # the first one came before the task did
    seen = left_worktrees._in_use
    monkeypatch.setattr(left_worktrees, "_in_use", lambda *asked: looks.pop() if looks else seen(*asked))
    assert remove_left_worktrees(world.engine) == 0
    assert (looks, workspaces(world).exists("orch/DEMO-1")) == ([], True)


def test_a_worktree_is_removed_if_it_is_unused_and_only_then(world: World, task: Staged) -> None:
    """Asked while nobody can prepare a worktree here."""
    assert workspaces(world).remove_if("orch/DEMO-1", lambda: False) is False
    assert workspaces(world).exists("orch/DEMO-1")
    assert workspaces(world).remove_if("orch/DEMO-1", lambda: True) is True
    assert not workspaces(world).exists("orch/DEMO-1")
