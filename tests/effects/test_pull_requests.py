"""Pull requests: opened once and known by their marker, closed for good, settled where git has merged them."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import PermanentError
from orchestrator.domain.stages import EffectKind, Stage
from orchestrator.domain.views import EffectStatus
from orchestrator.effects import EFFECTS
from orchestrator.effects.contract import Absent, Impossible, Landed
from orchestrator.engine.effects import EffectRefused
from orchestrator.ports import PullRequestState
from tests.effects.conftest import WorldMaker
from tests.effects.world import World

OPEN, CLOSE = EffectKind.OPEN_PR, EffectKind.CLOSE_PR


@pytest.fixture
def developed(make: WorldMaker) -> World:
    """A task whose head is judged and whose branch has no pull request yet."""
    return make(Stage.DEVELOPMENT)


def by_hand(world: World, body: str, base: str = "main") -> int:
    made = world.forge.open_pull_request(head_branch=world.branch, base_branch=base, title="by hand", body=body)
    return made.number


def test_it_is_opened_with_the_items_words_and_a_hidden_marker(developed: World) -> None:
    result = developed.run(OPEN, edge=developed.forward, note="Please read.")
    request = developed.forge.pull_request(1)
    assert result == {"number": "1", "url": request.url}
    assert (request.title, request.base_branch) == (f"{developed.work_item}: Greet", "main")
    assert request.body == f"Please read.\n\n<!-- orchestrator:{developed.task_id}/0 -->"
    assert developed.view().pull_request == 1


def test_without_a_judged_head_none_is_opened(developed: World) -> None:
    developed.set_task(head_sha=None)
    with pytest.raises(PermanentError, match="no head"):
        developed.run(OPEN, edge=developed.forward)


def test_one_that_a_person_opened_for_the_same_base_is_adopted(developed: World) -> None:
    number = by_hand(developed, "mine")
    assert developed.run(OPEN, edge=developed.forward)["number"] == str(number)
    assert developed.wire.count("open_pull_request") == 1


def test_one_for_another_base_is_not_taken_for_ours(developed: World) -> None:
    developed.remote.commit("next")
    by_hand(developed, "mine", base="next")
    assert EFFECTS[OPEN].look(developed.context(OPEN)) == Absent()


def test_one_that_was_merged_meanwhile_is_found(developed: World) -> None:
    context = developed.context(OPEN)
    number = by_hand(developed, context.request["marker"])
    developed.forge.merged_by_a_person(number, developed.remote.branches[developed.branch])
    seen = EFFECTS[OPEN].look(context)
    assert isinstance(seen, Landed) and seen.result["number"] == str(number)


def test_ours_closed_by_a_person_is_a_refusal(developed: World) -> None:
    developed.forge.closed_by_a_person(by_hand(developed, developed.context(OPEN).request["marker"]))
    with pytest.raises(EffectRefused, match="#1 was closed"):
        developed.run(OPEN, edge=developed.forward)
    assert developed.status(OPEN) is EffectStatus.REFUSED


def test_a_closed_one_of_an_earlier_task_is_no_matter(developed: World) -> None:
    developed.forge.closed_by_a_person(by_hand(developed, "<!-- orchestrator:999999/0 -->"))
    assert developed.run(OPEN, edge=developed.forward)["number"] == "2"


def test_opening_is_withdrawn_by_closing_ours_and_nobody_elses(developed: World) -> None:
    context = developed.context(OPEN)
    EFFECTS[OPEN].act(context, developed.enter())
    EFFECTS[OPEN].revoke(context, developed.enter())
    assert isinstance(EFFECTS[OPEN].look(context), Impossible)
    by_hand(developed, "mine")
    EFFECTS[OPEN].revoke(context, developed.enter())
    assert developed.forge.pull_request(2).state is PullRequestState.OPEN


def test_closing_goes_by_the_branch_so_that_one_nobody_knows_of_is_closed_too(developed: World) -> None:
    by_hand(developed, "its opening was never answered")
    result = developed.run(CLOSE, edge=developed.cancel, cleanup=True)
    assert result == {"closed": "1", "merged": ""}
    assert developed.forge.pull_request(1).state is PullRequestState.CLOSED


def test_where_there_is_none_closing_is_done(developed: World) -> None:
    assert developed.run(CLOSE, edge=developed.cancel, cleanup=True) == {"closed": "", "merged": ""}


def test_one_that_git_has_merged_is_settled_and_not_thrown_away(world: World) -> None:
    world.forge.records_merges = False
    candidate = world.candidate()
    context = world.context(EffectKind.MERGE_PR, edge=world.forward, candidate=candidate)
    world.run(EffectKind.MERGE_PR, edge=world.forward, candidate=candidate)
    world.forge._end(1, PullRequestState.OPEN, None)  # whoever merged it also lost the record
    assert context.request["candidate"] == candidate.commit_sha
    assert world.run(CLOSE, edge=world.cancel, cleanup=True) == {"closed": "", "merged": "1"}
    assert world.forge.pull_request(1).state is PullRequestState.MERGED


def test_the_merge_of_the_branch_before_a_fix_settles_no_pull_request_of_the_fix(world: World) -> None:
    world.run(EffectKind.MERGE_PR, edge=world.forward, candidate=world.candidate())
    world.set_task(branch=f"{world.branch}-2", generation=1)
    world.remote.commit(f"{world.branch}-2")
    world.forge.open_pull_request(head_branch=f"{world.branch}-2", base_branch="main", title="t", body="b")
    assert world.run(CLOSE, edge=world.cancel, cleanup=True) == {"closed": "2", "merged": ""}
