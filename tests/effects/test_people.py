"""What people see: the item's state, comments on it, messages."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.domain.errors import TransientError
from orchestrator.domain.stages import Edge, EffectKind, Stage, cancel_edge, forward_edge
from orchestrator.domain.views import EffectStatus
from orchestrator.effects import EFFECTS
from orchestrator.ports import TrackerState
from tests.effects.conftest import WorldMaker
from tests.effects.world import World
from tests.fakes.wire import Fault

STATE, COMMENT, NOTIFY = EffectKind.TRACKER_STATE, EffectKind.TRACKER_COMMENT, EffectKind.NOTIFY


@pytest.fixture
def started(make: WorldMaker) -> World:
    return make(Stage.ANALYSIS)


@pytest.mark.parametrize(
    ("edge", "occasion", "state"),
    [
        (None, "started", TrackerState.IN_PROGRESS),
        (forward_edge(Stage.DEPLOY), "deploy-to-done", TrackerState.DONE),
        (cancel_edge(Stage.ANALYSIS), "cancelled", TrackerState.CANCELLED),
        (forward_edge(Stage.REVIEW), "review-to-testing", TrackerState.IN_PROGRESS),
    ],
)
def test_the_item_goes_where_the_step_leads(
    started: World, edge: Edge | None, occasion: str, state: TrackerState
) -> None:
    assert started.run(STATE, edge=edge, occasion=occasion) == {"state": state}
    assert started.tracker.work_item(started.work_item).state is state


def test_the_item_of_a_task_that_stands_still_waits_for_a_person(started: World) -> None:
    started.set_task(parked_reason="no token", parked_at=datetime.now(UTC))
    assert started.run(STATE, occasion="parked-0") == {"state": TrackerState.NEEDS_HUMAN}
    assert started.tracker.work_item(started.work_item).state is TrackerState.NEEDS_HUMAN


def test_an_item_that_stands_there_already_is_left_alone(started: World) -> None:
    started.tracker.set_state(started.work_item, TrackerState.IN_PROGRESS)
    started.run(STATE, occasion="started")
    assert started.wire.count("set_state") == 1


@pytest.mark.parametrize("occasion", ["started", "parked-0"])
def test_a_stop_that_a_person_wrote_is_not_written_over(started: World, occasion: str) -> None:
    started.tracker.set_state(started.work_item, TrackerState.STOP)
    assert started.run(STATE, occasion=occasion) == {"kept": "stop"}
    assert started.tracker.work_item(started.work_item).state is TrackerState.STOP


@pytest.mark.parametrize("occasion", ["started", "parked-0"])
def test_a_stop_that_a_person_writes_between_our_read_and_our_write_is_not_lost(started: World, occasion: str) -> None:
    stop = lambda: started.tracker.set_state(started.work_item, TrackerState.STOP)  # noqa: E731  # a person, in one word
    started.wire.just_before("set_state", stop)
    assert started.run(STATE, occasion=occasion) == {"kept": "stop"}
    assert started.tracker.work_item(started.work_item).state is TrackerState.STOP


def test_another_move_of_a_person_between_read_and_write_is_read_and_then_written_over(started: World) -> None:
    started.wire.just_before(
        "set_state", lambda: started.tracker.set_state(started.work_item, TrackerState.NEEDS_HUMAN)
    )
    assert started.run(STATE, occasion="started") == {"state": TrackerState.IN_PROGRESS}


def test_the_end_of_a_task_is_written_over_a_stop(started: World) -> None:
    started.tracker.set_state(started.work_item, TrackerState.STOP)
    started.run(STATE, edge=started.cancel, occasion="cancelled")
    assert started.tracker.work_item(started.work_item).state is TrackerState.CANCELLED


def test_two_parks_of_one_visit_are_two_writes(started: World) -> None:
    started.set_task(parked_reason="no token", parked_at=datetime.now(UTC))
    started.run(STATE, occasion="parked-0")
    started.tracker.set_state(started.work_item, TrackerState.TO_ANALYSE)
    started.run(STATE, occasion="parked-1")
    assert started.tracker.work_item(started.work_item).state is TrackerState.NEEDS_HUMAN


@pytest.mark.parametrize("kind", [STATE, COMMENT])
def test_on_an_item_that_is_gone_there_is_nothing_left_to_write(started: World, kind: EffectKind) -> None:
    """A claim that waited for a deleted item would keep its task from ever ending."""
    started.tracker.items.clear()
    assert "skipped" in started.run(kind, occasion="started")
    assert started.status(kind) is EffectStatus.CONFIRMED


def test_a_comment_carries_task_visit_and_occasion(started: World) -> None:
    started.run(COMMENT, edge=started.forward, note="Analysis is done.", occasion="analysis-to-architecture")
    marker = f"orchestrator:{started.task_id}/{started.view().visit}/analysis-to-architecture"
    assert started.tracker.comments == {(started.work_item, marker): "Analysis is done."}


def test_a_comment_without_words_of_its_own_names_the_edge(started: World) -> None:
    started.run(COMMENT, edge=started.forward)
    assert list(started.tracker.comments.values()) == ["analysis -> architecture"]


def test_two_occasions_of_one_visit_are_two_comments(started: World) -> None:
    for occasion in ("one", "two", "one"):
        started.run(COMMENT, note=occasion, occasion=occasion)
    assert list(started.tracker.comments.values()) == ["one", "two"]


def test_a_successor_says_what_was_decided_and_not_what_it_would_say(started: World) -> None:
    context = started.context(COMMENT, occasion="x", note="decided")
    later = started.context(COMMENT, dict(context.request), occasion="x", note="something else")
    EFFECTS[COMMENT].act(later, started.enter())
    assert list(started.tracker.comments.values()) == ["decided"]


def test_everybody_is_told_and_who_fails_hides_nobody(started: World) -> None:
    started.wire.will("send one", Fault.NOT_DONE)
    with pytest.raises(TransientError, match=r"one: send one: no answer"):
        started.run(NOTIFY, occasion="parked-0", note="It stands still.")
    first, second = started.notifiers
    assert (first.said, [one.text for one in second.said]) == ([], ["It stands still."])
    assert started.status(NOTIFY) is EffectStatus.CLAIMED


@pytest.mark.parametrize(("occasion", "severity"), [("parked-2", "warning"), ("alert-x", "alert"), ("started", "info")])
def test_how_a_message_is_meant_follows_from_its_occasion(started: World, occasion: str, severity: str) -> None:
    started.run(NOTIFY, occasion=occasion)
    (said,) = started.notifiers[0].said
    assert (said.title, said.severity) == (f"{started.work_item}: Greet", severity)
