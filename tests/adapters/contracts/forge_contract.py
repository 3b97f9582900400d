"""What every forge must do. A test module derives ``Test…(ForgeContract)`` and gives the ``world`` fixture."""

from __future__ import annotations

from typing import Protocol

import pytest

from orchestrator.domain.errors import LostRaceError, NotFoundError, PermanentError, TransientError
from orchestrator.ports import CommitStatus, Forge, PullRequest, PullRequestState, StatusState
from tests.adapters.contracts.at_once import at_once


class ForgeWorld(Protocol):
    """A forge with a base branch ``main`` that has a commit, and what others do to it by git."""

    @property
    def forge(self) -> Forge: ...

    def another(self) -> Forge:
        """A forge on the same repository, as another process has it."""

    def commit(self, branch: str) -> str:
        """Push a new commit to ``branch`` (made from ``main`` when new), main too; its SHA."""

    def merge_by_hand(self, sha: str) -> None:
        """Move ``main`` forward to ``sha`` by git alone."""

    def commits_in(self, sha: str) -> int:
        """How many commits lead to ``sha``."""


def opened(world: ForgeWorld, branch: str = "orch/DEMO-1") -> PullRequest:
    world.commit(branch)
    return world.forge.open_pull_request(head_branch=branch, base_branch="main", title="Greet", body="<!-- e7 -->")


def head_of(request: PullRequest) -> str:
    assert request.head_sha is not None
    return request.head_sha


class ForgeContract:
    @pytest.fixture
    def world(self) -> ForgeWorld:
        raise NotImplementedError

    # --- branches ----------------------------------------------------------------------------------------

    def test_the_tip_of_a_branch_is_read_as_it_is_now(self, world: ForgeWorld) -> None:
        assert world.forge.branch_tip("orch/DEMO-1") is None
        first = world.commit("orch/DEMO-1")
        assert world.forge.branch_tip("orch/DEMO-1") == first
        second = world.commit("orch/DEMO-1")
        assert world.forge.branch_tip("orch/DEMO-1") == second

    def test_a_branch_is_deleted_only_where_it_is_expected_to_stand(self, world: ForgeWorld) -> None:
        old = world.commit("orch/DEMO-1")
        new = world.commit("orch/DEMO-1")
        with pytest.raises(LostRaceError, match="orch/DEMO-1"):
            world.forge.delete_branch("orch/DEMO-1", expected_tip=old)
        assert world.forge.branch_tip("orch/DEMO-1") == new
        world.forge.delete_branch("orch/DEMO-1", expected_tip=new)
        assert world.forge.branch_tip("orch/DEMO-1") is None

    def test_deleting_a_branch_that_is_gone_is_harmless(self, world: ForgeWorld) -> None:
        tip = world.commit("orch/DEMO-1")
        for _ in range(2):
            world.forge.delete_branch("orch/DEMO-1", expected_tip=tip)

    def test_the_base_branch_is_never_deleted(self, world: ForgeWorld) -> None:
        tip = world.commit("main")
        with pytest.raises(PermanentError, match="main"):
            world.forge.delete_branch("main", expected_tip=tip)
        assert world.forge.branch_tip("main") == tip

    # --- pull requests -----------------------------------------------------------------------------------

    def test_a_pull_request_is_read_as_it_was_opened(self, world: ForgeWorld) -> None:
        request = opened(world)
        assert world.another().pull_request(request.number) == request
        assert (request.head_branch, request.base_branch) == ("orch/DEMO-1", "main")
        assert (request.title, request.body) == ("Greet", "<!-- e7 -->")
        assert (request.state, request.merge_sha) == (PullRequestState.OPEN, None)
        assert request.head_sha == world.forge.branch_tip("orch/DEMO-1")
        assert request.url

    def test_an_unknown_pull_request_is_named(self, world: ForgeWorld) -> None:
        with pytest.raises(NotFoundError, match="4711"):
            world.forge.pull_request(4711)

    def test_a_pull_request_needs_its_branch(self, world: ForgeWorld) -> None:
        with pytest.raises((NotFoundError, PermanentError), match="orch/DEMO-9"):
            world.forge.open_pull_request(head_branch="orch/DEMO-9", base_branch="main", title="t", body="b")

    def test_pull_requests_of_a_branch_are_found_in_every_state_oldest_first(self, world: ForgeWorld) -> None:
        assert world.forge.find_pull_requests("orch/DEMO-1") == []
        first = opened(world)
        world.forge.close_pull_request(first.number)
        second = opened(world)
        other = opened(world, "orch/DEMO-11")
        found = world.forge.find_pull_requests("orch/DEMO-1")
        assert [(one.number, one.state) for one in found] == [
            (first.number, PullRequestState.CLOSED),
            (second.number, PullRequestState.OPEN),
        ]
        assert found[1].body == "<!-- e7 -->"
        assert [one.number for one in world.forge.find_pull_requests("orch/DEMO-11")] == [other.number]

    def test_a_second_pull_request_for_an_open_one_is_a_lost_race(self, world: ForgeWorld) -> None:
        first = opened(world)
        with pytest.raises(LostRaceError, match="orch/DEMO-1"):
            opened(world)
        assert [one.number for one in world.forge.find_pull_requests("orch/DEMO-1")] == [first.number]

    def test_the_head_of_a_pull_request_follows_its_branch(self, world: ForgeWorld) -> None:
        request = opened(world)
        newer = world.commit("orch/DEMO-1")
        assert world.forge.pull_request(request.number).head_sha == newer
        world.forge.delete_branch("orch/DEMO-1", expected_tip=newer)
        assert world.forge.pull_request(request.number).head_sha is None

    # --- merge -------------------------------------------------------------------------------------------

    def test_a_merge_moves_the_base_to_exactly_the_expected_head(self, world: ForgeWorld) -> None:
        request = opened(world)
        head = head_of(request)
        world.forge.merge_pull_request(request.number, expected_head=head, message="m")
        after = world.forge.pull_request(request.number)
        assert (after.state, after.merge_sha) == (PullRequestState.MERGED, head)
        assert world.forge.branch_tip("main") == head

    def test_a_head_that_moved_is_not_merged(self, world: ForgeWorld) -> None:
        request, base = opened(world), world.forge.branch_tip("main")
        world.commit("orch/DEMO-1")
        with pytest.raises(LostRaceError):
            world.forge.merge_pull_request(request.number, expected_head=head_of(request), message="m")
        self.assert_unmerged(world, request, base)

    def test_a_head_whose_branch_is_gone_is_not_merged(self, world: ForgeWorld) -> None:
        request, base = opened(world), world.forge.branch_tip("main")
        world.forge.delete_branch("orch/DEMO-1", expected_tip=head_of(request))
        with pytest.raises(LostRaceError):
            world.forge.merge_pull_request(request.number, expected_head=head_of(request), message="m")
        # Some forges close a pull request whose branch goes.
        assert world.forge.pull_request(request.number).state is not PullRequestState.MERGED
        assert world.forge.branch_tip("main") == base

    def test_nothing_is_merged_onto_a_base_that_moved(self, world: ForgeWorld) -> None:
        request = opened(world)
        base = world.commit("main")
        with pytest.raises(LostRaceError):
            world.forge.merge_pull_request(request.number, expected_head=head_of(request), message="m")
        self.assert_unmerged(world, request, base)

    def test_a_merged_pull_request_is_not_merged_again(self, world: ForgeWorld) -> None:
        request = opened(world)
        world.forge.merge_pull_request(request.number, expected_head=head_of(request), message="m")
        base = world.commit("main")
        with pytest.raises((LostRaceError, PermanentError), match=f"{request.number} is merged already"):
            world.another().merge_pull_request(request.number, expected_head=head_of(request), message="m")
        assert world.forge.branch_tip("main") == base

    def test_a_closed_pull_request_is_never_merged(self, world: ForgeWorld) -> None:
        request, base = opened(world), world.forge.branch_tip("main")
        for _ in range(2):
            world.forge.close_pull_request(request.number)
        assert world.forge.pull_request(request.number).state is PullRequestState.CLOSED
        with pytest.raises((LostRaceError, PermanentError), match=f"{request.number} is closed"):
            world.forge.merge_pull_request(request.number, expected_head=head_of(request), message="m")
        assert world.forge.branch_tip("main") == base

    def test_a_merged_pull_request_is_not_closed(self, world: ForgeWorld) -> None:
        request = opened(world)
        world.forge.merge_pull_request(request.number, expected_head=head_of(request), message="m")
        with pytest.raises(LostRaceError, match=f"{request.number} is merged"):
            world.forge.close_pull_request(request.number)
        assert world.forge.pull_request(request.number).state is PullRequestState.MERGED

    # --- merged in git, open on the forge ----------------------------------------------------------------

    def test_a_merge_that_only_git_knows_is_settled_and_never_made_again(self, world: ForgeWorld) -> None:
        request = opened(world)
        head = head_of(request)
        world.merge_by_hand(head)
        with pytest.raises((LostRaceError, TransientError)):
            world.forge.merge_pull_request(request.number, expected_head=head, message="m")
        for _ in range(2):
            world.forge.settle_pull_request(request.number, head)
        after = world.forge.pull_request(request.number)
        assert (after.state, after.merge_sha) == (PullRequestState.MERGED, head)
        assert world.forge.branch_tip("main") == head

    def test_what_is_not_in_the_base_branch_is_not_settled(self, world: ForgeWorld) -> None:
        request, base = opened(world), world.forge.branch_tip("main")
        with pytest.raises(PermanentError):
            world.forge.settle_pull_request(request.number, head_of(request))
        self.assert_unmerged(world, request, base)

    # --- statuses ----------------------------------------------------------------------------------------

    def test_the_newest_status_of_each_context_counts(self, world: ForgeWorld) -> None:
        sha = world.commit("orch/DEMO-1")
        assert list(world.forge.statuses(sha)) == []
        world.forge.set_status(sha, "ci/lint", StatusState.FAILURE, "2 errors")
        world.forge.set_status(sha, "ci/test", StatusState.PENDING, "running")
        world.forge.set_status(sha, "ci/test", StatusState.SUCCESS, "412 passed")
        assert sorted(world.forge.statuses(sha), key=lambda one: one.context) == [
            CommitStatus("ci/lint", StatusState.FAILURE, "2 errors"),
            CommitStatus("ci/test", StatusState.SUCCESS, "412 passed"),
        ]
        assert list(world.forge.statuses(world.commit("orch/DEMO-1"))) == []

    def test_statuses_are_read_over_all_pages(self, world: ForgeWorld) -> None:
        sha = world.commit("orch/DEMO-1")
        for number in range(60):
            world.forge.set_status(sha, f"ci/{number}", StatusState.SUCCESS, "")
        assert len(world.forge.statuses(sha)) == 60

    # --- races -------------------------------------------------------------------------------------------

    def test_two_merges_of_one_pull_request_at_once_are_one_merge(self, world: ForgeWorld) -> None:
        request = opened(world)
        head = head_of(request)
        forges = [world.another(), world.another()]
        ends = at_once(
            2, lambda index: forges[index].merge_pull_request(request.number, expected_head=head, message="m")
        )
        assert ends.count(None) == 1
        assert all(end is None or isinstance(end, LostRaceError | TransientError) for end in ends)
        assert world.forge.pull_request(request.number).state is PullRequestState.MERGED
        assert world.forge.branch_tip("main") == head

    def test_of_two_pull_requests_merged_at_once_onto_one_base_one_is_merged(self, world: ForgeWorld) -> None:
        before = world.commits_in(world.commit("main"))
        requests = [opened(world, "orch/DEMO-1"), opened(world, "orch/DEMO-2")]
        forges = [world.another(), world.another()]

        def merge(index: int) -> None:
            request = requests[index]
            forges[index].merge_pull_request(request.number, expected_head=head_of(request), message="m")

        ends = at_once(2, merge)
        assert ends.count(None) == 1
        states = [world.forge.pull_request(one.number).state for one in requests]
        assert sorted(states) == [PullRequestState.MERGED, PullRequestState.OPEN]
        tip = world.forge.branch_tip("main")
        assert tip == head_of(requests[ends.index(None)])
        assert world.commits_in(tip) == before + 1

    def test_two_openings_of_one_head_at_once_are_one_pull_request(self, world: ForgeWorld) -> None:
        world.commit("orch/DEMO-1")
        forges = [world.another(), world.another()]
        ends = at_once(
            2,
            lambda index: forges[index].open_pull_request(
                head_branch="orch/DEMO-1", base_branch="main", title="t", body="b"
            ),
        )
        assert sum(isinstance(end, PullRequest) for end in ends) == 1
        assert len(world.forge.find_pull_requests("orch/DEMO-1")) == 1

    @staticmethod
    def assert_unmerged(world: ForgeWorld, request: PullRequest, base: str | None) -> None:
        assert world.forge.pull_request(request.number).state is PullRequestState.OPEN
        assert world.forge.branch_tip("main") == base
