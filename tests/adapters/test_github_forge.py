"""GitHub keeps the contract of forges. Its own ways: late records, two kinds of statuses, one step for two branches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.forges.github_api import NOTHING, Move
from orchestrator.demo.doubles.traps import Trap, Trouble
from orchestrator.domain.errors import LostRaceError, NeedsHumanError, TransientError
from orchestrator.ports import CommitStatus, PullRequestState, StatusState
from tests.adapters.contracts.forge_contract import ForgeContract, head_of, opened
from tests.adapters.forge_worlds import GithubWorld, github_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GithubWorld]:
    with github_world(tmp_path) as made:
        yield made


class TestGithubKeepsTheContract(ForgeContract):
    @pytest.fixture
    def world(self, world: GithubWorld) -> GithubWorld:
        return world


def merge(world: GithubWorld, number: int, head: str) -> None:
    world.forge.merge_pull_request(number, expected_head=head, message="m")


# --- one step for two branches -----------------------------------------------------------------------------------


def test_a_late_merge_of_a_head_that_was_moved_aside_is_refused_by_the_server(world: GithubWorld) -> None:
    request, base = opened(world), world.forge.branch_tip("main") or ""
    head = head_of(request)
    # What a dead process had sent, arriving after its claim was withdrawn.
    late = (Move("main", base, head), Move(request.head_branch, head, head))
    world.commit(request.head_branch)
    assert "orch/DEMO-1" in world.forge.api.move_branches(late)
    assert world.forge.branch_tip("main") == base


def test_branches_are_moved_all_or_none_and_only_forward(world: GithubWorld) -> None:
    old = world.forge.branch_tip("main") or ""
    new = world.commit("main")
    side = world.commit("orch/DEMO-1")
    for moves in (
        (Move("main", new, old),),
        (Move("main", new, side), Move("orch/DEMO-1", new, new)),
        (Move("main", old, side),),
        (Move("main", NOTHING, side),),
    ):
        assert world.forge.api.move_branches(moves)
        assert (world.forge.branch_tip("main"), world.forge.branch_tip("orch/DEMO-1")) == (new, side)
    assert world.forge.api.move_branches((Move("main", new, side),)) == ""
    assert world.forge.branch_tip("main") == side


@pytest.mark.parametrize("trouble", [Trouble.DROP_AFTER, Trouble.SAY_AFTER])
def test_a_merge_that_landed_unheard_is_never_made_again(world: GithubWorld, trouble: Trouble) -> None:
    request = opened(world)
    head = head_of(request)
    world.traps.set(Trap("POST", "/graphql", trouble))
    with pytest.raises((TransientError, LostRaceError)):
        merge(world, request.number, head)
    with pytest.raises(LostRaceError):
        merge(world, request.number, head)
    assert world.forge.branch_tip("main") == head
    assert world.commits_in("main") == 2


# --- records that come late --------------------------------------------------------------------------------------


def test_a_merge_whose_record_comes_late_is_settled_by_waiting(world: GithubWorld) -> None:
    world.double.marks_late = 11
    request = opened(world)
    head = head_of(request)
    merge(world, request.number, head)
    assert world.forge.pull_request(request.number).state is PullRequestState.OPEN
    with pytest.raises(TransientError, match="not marked"):
        world.forge.settle_pull_request(request.number, head)
    with pytest.raises(LostRaceError, match="settle"):
        merge(world, request.number, head)
    world.forge.settle_pull_request(request.number, head)
    found = world.forge.pull_request(request.number)
    assert (found.state, found.merge_sha) == (PullRequestState.MERGED, head)


def test_the_commit_of_a_trial_is_never_taken_for_the_merge(world: GithubWorld) -> None:
    request = opened(world)
    world.merge_by_hand(head_of(request))
    assert world.forge.pull_request(request.number).state is PullRequestState.MERGED
    world.double.rows.pulls[request.number].merge_sha = world.commit("trial")
    assert world.forge.pull_request(request.number).merge_sha == head_of(request)


# --- statuses, limits --------------------------------------------------------------------------------------------


def test_check_runs_and_statuses_are_read_together_and_the_worse_one_counts(world: GithubWorld) -> None:
    sha = world.commit("orch/DEMO-1")
    world.forge.set_status(sha, "ci", StatusState.SUCCESS, "green")
    world.double.rows.checks += [
        {"name": "ci", "head_sha": sha, "status": "completed", "conclusion": "timed_out"},
        {"name": "lint", "head_sha": sha, "status": "in_progress", "conclusion": None},
        {"name": "docs", "head_sha": sha, "status": "completed", "conclusion": "skipped"},
        {"name": "other", "head_sha": "f" * 40, "status": "completed", "conclusion": "failure"},
    ]
    assert sorted(world.forge.statuses(sha), key=lambda one: one.context) == [
        CommitStatus("ci", StatusState.FAILURE, ""),
        CommitStatus("docs", StatusState.SUCCESS, ""),
        CommitStatus("lint", StatusState.PENDING, ""),
    ]


@pytest.mark.parametrize("status", [403, 429])
def test_a_rate_limit_is_no_lack_of_rights(world: GithubWorld, status: int) -> None:
    limit = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "4102444800"}
    world.traps.set(Trap("GET", "/pulls", Trouble.SAY_BEFORE, status=status, headers=limit))
    with pytest.raises(TransientError) as raised:
        world.forge.find_pull_requests("orch/DEMO-1")
    assert raised.value.retry_after_s is not None
    assert raised.value.retry_after_s > 1000


def test_a_missing_right_needs_a_person(world: GithubWorld) -> None:
    world.traps.set(Trap("GET", "/pulls", Trouble.SAY_BEFORE, status=403, body={"message": "Resource not accessible"}))
    with pytest.raises(NeedsHumanError, match="not accessible"):
        world.forge.find_pull_requests("orch/DEMO-1")


def test_a_comment_is_written_once_however_often_it_is_asked_for(world: GithubWorld) -> None:
    request = opened(world)
    first = world.forge.add_comment(request.number, "orchestrator:1/2/x", "Sent back.")
    assert world.another().add_comment(request.number, "orchestrator:1/2/x", "Sent back.") == first
    assert len(world.double.rows.comments) == 1
