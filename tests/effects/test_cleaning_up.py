"""Branches and worktrees that are no longer needed go; what somebody else may need stays."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import LostRaceError, PermanentError
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.effects import EFFECTS
from orchestrator.effects.contract import Absent, Impossible, Landed
from orchestrator.engine.effects import EffectRefused
from orchestrator.ports import PullRequestState
from tests.effects.conftest import WorldMaker
from tests.effects.world import World

DELETE, REMOVE = EffectKind.DELETE_BRANCH, EffectKind.REMOVE_WORKTREE


@pytest.fixture
def deployed(make: WorldMaker) -> World:
    """A task at ``deploy`` whose branch was merged as it stands."""
    world = make(Stage.DEPLOY)
    world.remote.branches["main"] = world.remote.branches[world.branch]
    return world


def test_the_branch_of_a_finished_task_is_deleted(deployed: World) -> None:
    tip = deployed.remote.branches[deployed.branch]
    result = deployed.run(DELETE, edge=deployed.forward)
    assert result == {"branch": deployed.branch, "tip": tip}
    assert deployed.branch not in deployed.remote.branches


def test_a_branch_that_is_gone_is_deleted(deployed: World) -> None:
    del deployed.remote.branches[deployed.branch]
    assert deployed.run(DELETE, edge=deployed.forward) == {"branch": deployed.branch, "tip": ""}


@pytest.mark.parametrize("step", ["request", "look", "act"])
def test_the_base_branch_is_refused_before_anything_is_sent(deployed: World, step: str) -> None:
    request = {"branch": "main", "tip": deployed.remote.branches["main"], "keep": ""}
    context = deployed.context(DELETE, request)
    deployed.set_task(branch="main")
    steps = {
        "request": lambda: deployed.run(DELETE, edge=deployed.forward),
        "look": lambda: EFFECTS[DELETE].look(context),
        "act": lambda: EFFECTS[DELETE].act(context, deployed.enter()),
    }
    with pytest.raises(PermanentError, match="never deleted"):
        steps[step]()
    assert deployed.wire.landed == []


def test_a_branch_that_somebody_pushed_to_since_is_kept(deployed: World) -> None:
    context = deployed.context(DELETE, edge=deployed.forward)
    theirs = deployed.remote.commit(deployed.branch)
    seen = EFFECTS[DELETE].look(context)
    assert isinstance(seen, Impossible) and seen.why.startswith("moved")
    with pytest.raises(LostRaceError, match="is at"):
        EFFECTS[DELETE].act(context, deployed.enter())
    assert deployed.remote.branches[deployed.branch] == theirs


def test_a_push_between_look_and_delete_is_kept(deployed: World) -> None:
    deployed.wire.just_before("delete_branch", lambda: deployed.remote.commit(deployed.branch))
    with pytest.raises(EffectRefused, match="moved"):
        deployed.run(DELETE, edge=deployed.forward)
    assert deployed.branch in deployed.remote.branches


def test_commits_that_are_in_no_merge_and_not_ours_are_kept(deployed: World) -> None:
    theirs = deployed.remote.commit(deployed.branch)
    result = deployed.run(DELETE, edge=deployed.forward)
    assert theirs in result["kept"]
    assert deployed.remote.branches[deployed.branch] == theirs


def test_the_branch_of_a_squashed_merge_is_deleted(make: WorldMaker) -> None:
    world = make(Stage.DEPLOY)
    world.remote.commit("main")
    assert "kept" not in world.run(DELETE, edge=world.forward)
    assert world.branch not in world.remote.branches


def test_the_branch_of_a_cancelled_task_goes_with_all_that_is_on_it(make: WorldMaker) -> None:
    world = make(Stage.DEVELOPMENT)
    world.remote.commit(world.branch)
    world.run(DELETE, edge=world.cancel, cleanup=True)
    assert world.branch not in world.remote.branches


def test_an_open_pull_request_that_git_has_merged_is_settled_before_its_branch_goes(world: World) -> None:
    world.forge.records_merges = False
    world.run(EffectKind.MERGE_PR, edge=world.forward, candidate=world.candidate())
    world.forge._end(1, PullRequestState.OPEN, None)  # whoever merged it also lost the record
    world.run(DELETE, edge=world.forward)
    assert world.forge.pull_request(1).state is PullRequestState.MERGED
    assert [name for name, _ in world.wire.landed[-2:]] == ["settle_pull_request", "delete_branch"]


def test_a_worktree_is_removed_and_one_that_is_gone_is_done(deployed: World) -> None:
    context = deployed.context(REMOVE)
    assert EFFECTS[REMOVE].look(context) == Landed({"branch": deployed.branch})
    deployed.workspaces.prepare(deployed.branch)
    assert EFFECTS[REMOVE].look(context) == Absent()
    assert deployed.run(REMOVE, edge=deployed.forward) == {"branch": deployed.branch}
    assert not deployed.workspaces.exists(deployed.branch)
