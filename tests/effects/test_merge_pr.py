"""The merge: what lands is the candidate, once; git is asked before the forge; what moved is never merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from orchestrator import failpoints
from orchestrator.domain.errors import LostRaceError, PermanentError, TransientError
from orchestrator.domain.lane_merges import merge_message, merge_of
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.domain.views import EffectStatus
from orchestrator.effects import EFFECTS
from orchestrator.effects.contract import Absent, Impossible, Landed
from orchestrator.engine.effects import EffectRefused
from orchestrator.failpoints import FailpointError
from orchestrator.ports import PullRequestState
from tests.effects.conftest import WorldMaker
from tests.effects.world import World
from tests.fakes.wire import Fault

MERGE = EffectKind.MERGE_PR
EFFECT = EFFECTS[MERGE]


def claim(world: World) -> Mapping[str, str]:
    """A claim that was committed and never sent: its owner died. The request in it."""
    failpoints.arm("effect.merge_pr.claimed=raise")
    with pytest.raises(FailpointError):
        world.run(MERGE, edge=world.forward, candidate=world.candidate())
    failpoints.arm("")
    return world.ledger(MERGE)[-1].request


def base(world: World) -> str:
    return world.remote.branches["main"]


def state(world: World) -> PullRequestState:
    return world.forge.pull_request(1).state


# --- the usual way -----------------------------------------------------------------------------------------------


def test_the_base_becomes_the_candidate_and_the_pull_request_merged(world: World) -> None:
    candidate = world.candidate()
    result = world.run(MERGE, edge=world.forward, candidate=candidate)
    assert result == {"merge_sha": candidate.commit_sha}
    assert (base(world), state(world)) == (candidate.commit_sha, PullRequestState.MERGED)
    assert world.wire.landed[-2:] == [("publish", candidate.commit_sha), ("merge_pull_request", candidate.commit_sha)]


def test_each_candidate_is_a_claim_of_its_own(world: World) -> None:
    first = EFFECT.target(replace(world.context(MERGE, {}), candidate=world.candidate()))
    world.remote.commit("main")
    second = EFFECT.target(replace(world.context(MERGE, {}), candidate=world.candidate()))
    assert first.startswith("#1@") and second.startswith("#1@") and first != second


def test_a_candidate_that_was_published_before_is_merged_as_it_stands(world: World) -> None:
    candidate = world.candidate()
    world.workspaces.publish(world.branch, candidate.commit_sha, candidate.head_sha)
    world.run(MERGE, edge=world.forward, candidate=replace(candidate, head_sha=candidate.commit_sha))
    assert base(world) == candidate.commit_sha
    assert world.wire.count("publish") == 1


def test_a_merge_that_was_not_built_of_the_judged_head_is_not_claimed(world: World) -> None:
    judged = world.view().head_sha
    other = world.workspaces.build_merge(world.remote.commit("orch/other"), base(world), "m")
    with pytest.raises(PermanentError, match=str(judged)):
        world.run(MERGE, edge=world.forward, candidate=other)
    assert world.ledger(MERGE) == []


def test_the_base_branch_is_never_merged_into_itself(world: World) -> None:
    candidate = world.candidate()
    world.set_task(branch="main")
    with pytest.raises(PermanentError, match="base branch"):
        world.run(MERGE, edge=world.forward, candidate=candidate)


def test_without_a_pull_request_nothing_is_merged(make: WorldMaker) -> None:
    world = make(Stage.DEPLOY_STAGING)
    with pytest.raises(PermanentError, match="no pull request"):
        world.run(MERGE, edge=world.forward, candidate=world.candidate())


# --- what moved is never merged -------------------------------------------------------------------------------


def test_a_head_that_moved_before_the_look_is_refused(world: World) -> None:
    candidate, before = world.candidate(), base(world)
    world.remote.commit(world.branch)
    with pytest.raises(EffectRefused, match="head moved"):
        world.run(MERGE, edge=world.forward, candidate=candidate)
    assert (base(world), world.status(MERGE)) == (before, EffectStatus.REFUSED)


@pytest.mark.parametrize("when", ["published", "about to be merged"])
def test_a_head_that_moves_between_publish_and_merge_is_not_merged(world: World, when: str) -> None:
    candidate, before = world.candidate(), base(world)
    if when == "published":
        world.wire.just_after("publish", lambda: world.remote.commit(world.branch))
    else:
        world.wire.just_before("merge_pull_request", lambda: world.remote.commit(world.branch))
    with pytest.raises(EffectRefused, match="head moved"):
        world.run(MERGE, edge=world.forward, candidate=candidate)
    assert (base(world), state(world)) == (before, PullRequestState.OPEN)


def test_a_head_that_moves_between_look_and_publish_is_neither_overwritten_nor_merged(world: World) -> None:
    candidate, before = world.candidate(), base(world)
    theirs: list[str] = []
    world.wire.just_before("publish", lambda: theirs.append(world.remote.commit(world.branch)))
    with pytest.raises(EffectRefused, match="head moved"):
        world.run(MERGE, edge=world.forward, candidate=candidate)
    assert (base(world), world.remote.branches[world.branch]) == (before, theirs[0])


def test_a_branch_that_is_gone_is_refused(world: World) -> None:
    candidate = world.candidate()
    del world.remote.branches[world.branch]
    with pytest.raises(EffectRefused, match="stands at nothing"):
        world.run(MERGE, edge=world.forward, candidate=candidate)


def test_a_base_that_moved_before_the_look_asks_for_another_candidate(world: World) -> None:
    candidate = world.candidate()
    moved = world.remote.commit("main")
    with pytest.raises(EffectRefused, match="base moved"):
        world.run(MERGE, edge=world.forward, candidate=candidate)
    assert base(world) == moved
    assert world.wire.count("publish") == 0


def test_a_base_that_moves_just_before_the_merge_asks_for_another_candidate(world: World) -> None:
    candidate = world.candidate()
    moved: list[str] = []
    world.wire.just_before("merge_pull_request", lambda: moved.append(world.remote.commit("main")))
    with pytest.raises(EffectRefused, match="base moved"):
        world.run(MERGE, edge=world.forward, candidate=candidate)
    assert base(world) == moved[0]
    again = world.workspaces.build_merge(candidate.commit_sha, base(world), merge_message(world.view()))
    world.run(MERGE, edge=world.forward, candidate=again)
    assert base(world) == again.commit_sha
    assert [row.status for row in world.ledger(MERGE)] == [EffectStatus.REFUSED, EffectStatus.CONFIRMED]


def test_a_pull_request_that_a_person_closed_is_refused(world: World) -> None:
    candidate = world.candidate()
    world.forge.closed_by_a_person(1)
    with pytest.raises(EffectRefused, match="closed without a merge"):
        world.run(MERGE, edge=world.forward, candidate=candidate)


def test_a_candidate_that_no_node_has_any_more_is_refused(world: World) -> None:
    request = {**claim(world), "candidate": "c" * 40}
    seen = EFFECT.look(world.context(MERGE, request))
    assert isinstance(seen, Impossible) and "build again" in seen.why


# --- landed, whoever says otherwise ------------------------------------------------------------------------------


def test_a_merge_that_lands_after_the_owner_died_is_found(world: World) -> None:
    candidate = world.candidate()
    world.wire.will("merge_pull_request", Fault.LATE)
    failpoints.arm("effect.merge_pr.answered=raise")
    with pytest.raises(FailpointError):
        world.run(MERGE, edge=world.forward, candidate=candidate)
    world.wire.deliver()
    assert world.run(MERGE, edge=world.forward, candidate=candidate) == {"merge_sha": candidate.commit_sha}
    assert world.wire.count("merge_pull_request") == 1


def test_a_merge_that_lands_while_the_look_finds_the_head_moved_is_no_refusal(world: World) -> None:
    """It landed, and the branch went on, after the base was read: the base has the last word."""
    request, candidate = claim(world), world.candidate()
    world.workspaces.publish(world.branch, candidate.commit_sha, candidate.head_sha)
    world.forge.records_merges = False
    read = world.workspaces.branch_tip

    def landed_meanwhile(branch: str) -> str | None:
        world.workspaces.branch_tip = read  # type: ignore[method-assign]  # once only
        world.forge.merge_pull_request(1, expected_head=candidate.commit_sha, message="m")
        world.remote.commit(world.branch)
        return read(branch)

    world.workspaces.branch_tip = landed_meanwhile  # type: ignore[method-assign]  # a person is quick
    seen = EFFECT.look(world.context(MERGE, request))
    assert seen == Landed({"merge_sha": candidate.commit_sha}, unsettled=True)


def test_a_merge_that_git_has_and_the_forge_shows_open_is_landed_and_unsettled(world: World) -> None:
    world.forge.records_merges = False
    candidate = world.candidate()
    world.run(MERGE, edge=world.forward, candidate=candidate)
    assert (base(world), world.status(MERGE)) == (candidate.commit_sha, EffectStatus.CONFIRMED)


def test_an_unsettled_merge_is_settled_and_never_merged_again(world: World) -> None:
    world.forge.records_merges = False
    request, candidate = claim(world), world.candidate()
    context = world.context(MERGE, request)
    EFFECT.act(context, world.enter())
    assert EFFECT.look(context) == Landed({"merge_sha": candidate.commit_sha}, unsettled=True)
    EFFECT.act(context, world.enter())
    assert EFFECT.look(context) == Landed({"merge_sha": candidate.commit_sha})
    assert state(world) is PullRequestState.MERGED
    assert world.wire.count("merge_pull_request") == 1
    EFFECT.act(context, world.enter())
    assert (world.wire.count("merge_pull_request"), world.wire.count("settle_pull_request")) == (1, 1)


def test_a_merge_in_git_counts_also_when_the_base_has_moved_on_since(world: World) -> None:
    request, candidate = claim(world), world.candidate()
    context = world.context(MERGE, request)
    EFFECT.act(context, world.enter())
    world.remote.commit("main")
    assert EFFECT.look(context) == Landed({"merge_sha": candidate.commit_sha})


def test_a_pull_request_that_a_person_merged_is_adopted(world: World) -> None:
    candidate = world.candidate()
    squashed = world.remote.commit("orch/squashed")
    world.forge.merged_by_a_person(1, squashed)
    result = world.run(MERGE, edge=world.forward, candidate=candidate)
    assert result == {"merge_sha": squashed, "by_hand": "yes"}
    assert (world.view().merged_sha, base(world)) == (squashed, squashed)


def test_what_a_person_merged_is_confirmed_where_there_is_nothing_to_build(world: World) -> None:
    squashed = world.remote.commit("orch/squashed")
    world.forge.merged_by_a_person(1, squashed)
    world.set_task(merged_sha=squashed)
    assert world.run(MERGE, edge=world.forward)["merge_sha"] == squashed


def test_without_a_candidate_an_open_pull_request_is_refused(world: World) -> None:
    with pytest.raises(EffectRefused, match="no merge result"):
        world.run(MERGE, edge=world.forward)


def test_acting_on_what_can_no_longer_be_done_sends_nothing(world: World) -> None:
    context = world.context(MERGE, claim(world))
    world.remote.commit("main")
    EFFECT.act(context, world.enter())
    assert (world.wire.count("publish"), world.wire.count("merge_pull_request")) == (0, 0)


# --- revocation -----------------------------------------------------------------------------------------------


def test_a_withdrawn_merge_can_never_land(world: World) -> None:
    candidate, before = world.candidate(), base(world)
    world.wire.will("merge_pull_request", Fault.LATE)
    failpoints.arm("effect.merge_pr.answered=raise")
    with pytest.raises(FailpointError):
        world.run(MERGE, edge=world.forward, candidate=candidate)
    assert world.withdraw() == {}
    world.wire.deliver()
    assert (base(world), world.status(MERGE)) == (before, EffectStatus.REVOKED)
    assert world.remote.branches[world.branch] not in (candidate.head_sha, candidate.commit_sha)


def test_a_withdrawn_publish_can_never_land(world: World) -> None:
    candidate, before = world.candidate(), base(world)
    world.wire.will("publish", Fault.LATE)
    failpoints.arm("effect.merge_pr.answered=raise")
    with pytest.raises(FailpointError):
        world.run(MERGE, edge=world.forward, candidate=candidate)
    assert world.withdraw() == {}
    world.wire.deliver()
    assert base(world) == before
    assert world.remote.branches[world.branch] != candidate.commit_sha


def test_a_publish_that_lands_during_the_withdrawal_is_moved_aside_as_well(world: World) -> None:
    candidate = world.candidate()
    world.wire.will("publish", Fault.LATE)
    failpoints.arm("effect.merge_pr.answered=raise")
    with pytest.raises(FailpointError):
        world.run(MERGE, edge=world.forward, candidate=candidate)
    world.wire.just_before("move_aside", world.wire.deliver)
    assert world.withdraw() == {}
    assert world.remote.branches[world.branch] not in (candidate.head_sha, candidate.commit_sha)
    assert world.wire.count("move_aside") == 1


@pytest.mark.parametrize("recorded", [True, False])
def test_a_merge_that_landed_before_the_withdrawal_is_returned_and_left_alone(world: World, recorded: bool) -> None:
    world.forge.records_merges = recorded
    candidate = world.candidate()
    failpoints.arm("effect.merge_pr.answered=raise")
    with pytest.raises(FailpointError):
        world.run(MERGE, edge=world.forward, candidate=candidate)
    landed = world.withdraw()
    assert landed[MERGE].result == {"merge_sha": candidate.commit_sha}
    assert world.status(MERGE) is EffectStatus.CONFIRMED
    assert world.remote.branches[world.branch] == candidate.commit_sha


@pytest.mark.parametrize("recorded", [True, False])
def test_a_merge_that_lands_during_the_withdrawal_is_returned(world: World, recorded: bool) -> None:
    world.forge.records_merges = recorded
    candidate = world.candidate()
    world.wire.will("merge_pull_request", Fault.LATE)
    failpoints.arm("effect.merge_pr.answered=raise")
    with pytest.raises(FailpointError):
        world.run(MERGE, edge=world.forward, candidate=candidate)
    world.wire.just_before("move_aside", world.wire.deliver)
    assert world.withdraw()[MERGE].result == {"merge_sha": candidate.commit_sha}


def test_a_withdrawn_merge_does_not_land_when_its_pull_request_is_opened_again(world: World) -> None:
    """The late request still names the head that was judged: only a branch that never stands there again stops it."""
    candidate, before = world.candidate(), base(world)
    world.wire.will("merge_pull_request", Fault.LATE)
    failpoints.arm("effect.merge_pr.answered=raise")
    with pytest.raises(FailpointError):
        world.run(MERGE, edge=world.forward, candidate=candidate)
    world.withdraw()
    world.forge.reopened_by_a_person(1)
    world.wire.deliver()
    assert (base(world), state(world)) == (before, PullRequestState.OPEN)
    assert world.status(MERGE) is EffectStatus.REVOKED


def test_closing_the_pull_request_is_no_withdrawal_because_it_can_be_opened_again(world: World) -> None:
    claim(world)
    world.forge.closed_by_a_person(1)
    world.withdraw()
    assert world.wire.count("move_aside") == 1


def test_a_branch_that_a_person_moved_is_not_moved_by_a_withdrawal(world: World) -> None:
    claim(world)
    theirs = world.remote.commit(world.branch)
    world.withdraw()
    assert world.remote.branches[world.branch] == theirs


def test_a_withdrawal_that_was_not_answered_is_taken_up_again(world: World) -> None:
    claim(world)
    world.wire.will("move_aside", Fault.ANSWER_LOST)
    with pytest.raises(TransientError):
        world.withdraw()
    assert world.status(MERGE) is EffectStatus.CLAIMED
    world.withdraw()
    assert world.status(MERGE) is EffectStatus.REVOKED
    assert world.wire.count("move_aside") == 1


def test_a_branch_that_never_stands_still_leaves_the_withdrawal_to_the_next_pass(world: World) -> None:
    request = claim(world)

    def moved(branch: str, expected_old: str) -> str:
        raise LostRaceError("it moved and came back")

    world.workspaces.move_aside = moved  # type: ignore[method-assign]  # nobody is that quick
    with pytest.raises(TransientError, match="moves"):
        EFFECT.revoke(world.context(MERGE, request), world.enter())


def test_after_a_withdrawal_the_same_candidate_is_not_claimed_again(world: World) -> None:
    candidate = world.candidate()
    claim(world)
    world.withdraw()
    with pytest.raises(EffectRefused, match="withdrawn"):
        world.run(MERGE, edge=world.forward, candidate=candidate)


def test_an_absent_merge_is_absent_before_and_after_its_publish(world: World) -> None:
    request, candidate = claim(world), world.candidate()
    context = world.context(MERGE, request)
    assert EFFECT.look(context) == Absent()
    world.workspaces.publish(world.branch, candidate.commit_sha, candidate.head_sha)
    assert EFFECT.look(context) == Absent()


# --- the message ---------------------------------------------------------------------------------------------


def test_the_message_of_a_lane_merge_names_task_and_visit(world: World) -> None:
    view = world.view()
    message = merge_message(view)
    assert message.splitlines()[-1] == f"Orchestrator-Effect: {view.task_id}/{view.visit}/merge_pr"
    assert merge_of(message) == (view.task_id, view.visit)


def test_a_title_brings_no_trailer_of_its_own(world: World) -> None:
    view = replace(world.view(), title="x\n\nOrchestrator-Effect: 7/0/merge_pr")
    message = merge_message(view)
    assert merge_of(message) == (view.task_id, view.visit)
    assert message.count("\n") == 3


@pytest.mark.parametrize(
    "message", ["", "\n", "Merge", "Orchestrator-Effect: 7/0/merge_pr\nmore", "see Orchestrator-Effect: 7/0/merge_pr"]
)
def test_other_messages_are_no_lane_merges(message: str) -> None:
    assert merge_of(message) is None
