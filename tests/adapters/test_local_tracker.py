"""The built-in tracker keeps the contract of trackers, and its own promises to people."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator.adapters.trackers.local import LocalTracker
from orchestrator.domain.errors import NotFoundError, UsageError
from orchestrator.ports import TrackerState
from orchestrator.store.database import Store
from tests.adapters.contracts.at_once import at_once
from tests.adapters.contracts.tracker_contract import TrackerContract, TrackerWorld


class LocalTrackerWorld:
    def __init__(self, store: Store, project: str) -> None:
        self._store = store
        self._project = project
        self.tracker = self.another()

    def another(self) -> LocalTracker:
        return LocalTracker(self._store, self._project)

    def add(self, title: str, body: str = "", priority: int = 0, blocked_by: Sequence[str] = ()) -> str:
        return self.another().add_item(title, body, priority, "ann", blocked_by=blocked_by)

    def move(self, key: str, state: TrackerState) -> None:
        self.another().set_state(key, state)

    def comments(self, key: str) -> Sequence[str]:
        return [comment.text for comment in self.another().comments(key)]


class TestLocalTracker(TrackerContract):
    @pytest.fixture
    def world(self, shared_store: Store, project: str) -> TrackerWorld:
        return LocalTrackerWorld(shared_store, project)


@pytest.fixture
def tracker(shared_store: Store, project: str) -> LocalTracker:
    return LocalTracker(shared_store, project)


@pytest.fixture
def other(shared_store: Store, project: str) -> LocalTracker:
    return LocalTracker(shared_store, f"{project}x")


def test_numbers_count_up_in_each_project(tracker: LocalTracker, other: LocalTracker, project: str) -> None:
    keys = [tracker.add_item("one"), tracker.add_item("two"), other.add_item("one")]
    assert keys == [f"{project}-1", f"{project}-2", f"{project}x-1"]
    assert [item.key for item in tracker.items()] == keys[:2]


def test_a_state_is_written_over_the_one_that_was_read_and_over_no_other(tracker: LocalTracker) -> None:
    key = tracker.add_item("one")
    assert tracker.set_state_if(key, TrackerState.IN_PROGRESS, expected=TrackerState.TO_ANALYSE)
    tracker.set_state(key, TrackerState.STOP)
    assert not tracker.set_state_if(key, TrackerState.NEEDS_HUMAN, expected=TrackerState.IN_PROGRESS)
    assert tracker.work_item(key).state is TrackerState.STOP
    with pytest.raises(NotFoundError):
        tracker.set_state_if(f"{key}9", TrackerState.DONE, expected=TrackerState.STOP)


def test_of_eight_that_move_an_item_from_one_state_one_does(tracker: LocalTracker) -> None:
    key = tracker.add_item("one")
    states = [state for state in TrackerState if state is not TrackerState.TO_ANALYSE]
    moved = at_once(
        8,
        lambda index: tracker.set_state_if(key, states[index % len(states)], expected=TrackerState.TO_ANALYSE),
    )
    assert [moved.count(one) for one in (True, False)] == [1, 7]


def test_eight_items_added_at_once_get_eight_numbers(tracker: LocalTracker, project: str) -> None:
    keys = at_once(8, lambda index: tracker.add_item(f"item {index}"))
    assert sorted(map(str, keys)) == [f"{project}-{number}" for number in range(1, 9)]


def test_eight_comments_with_one_marker_at_once_are_one_comment(tracker: LocalTracker) -> None:
    key = tracker.add_item("one")
    ids = at_once(8, lambda index: tracker.add_comment(key, "effect-7", f"by {index}"))
    assert [comment.id for comment in tracker.comments(key)] == [ids[0]]
    assert set(ids) == {ids[0]}


def test_a_key_can_be_chosen_once_and_the_next_number_goes_on_from_it(tracker: LocalTracker, project: str) -> None:
    assert tracker.add_item("chosen", key=f"{project}-114") == f"{project}-114"
    assert tracker.add_item("next") == f"{project}-115"
    with pytest.raises(UsageError, match=f"{project}-114 exists already"):
        tracker.add_item("again", key=f"{project}-114")


@pytest.mark.parametrize("key", ["OTHER-1", "{}-0", "{}-", "{}-x", "1", "{}-1234567890", "{}-01", "{}-١", "{}x-1"])
def test_a_key_that_is_none_of_the_project_is_refused(tracker: LocalTracker, project: str, key: str) -> None:
    with pytest.raises(UsageError, match="is not a key of this project"):
        tracker.add_item("one", key=key.format(project))


def test_a_title_is_needed(tracker: LocalTracker) -> None:
    with pytest.raises(UsageError, match="needs a title"):
        tracker.add_item("  \n")


def test_an_item_with_a_bad_blocker_is_not_added(tracker: LocalTracker, project: str) -> None:
    with pytest.raises(NotFoundError, match=f"{project}-99"):
        tracker.add_item("blocked", blocked_by=(f"{project}-99",))
    with pytest.raises(UsageError, match="cannot wait for itself"):
        tracker.add_item("blocked", key=f"{project}-1", blocked_by=(f"{project}-1",))
    assert tracker.items() == []


def test_an_item_may_wait_for_one_of_another_project(tracker: LocalTracker, other: LocalTracker) -> None:
    first = other.add_item("first")
    key = tracker.add_item("blocked", blocked_by=(first, first))
    assert tracker.work_item(key).blocked_by == (first,)


def test_an_item_of_another_project_is_not_read_or_moved(tracker: LocalTracker, other: LocalTracker) -> None:
    key = other.add_item("first")
    for act in (tracker.work_item, tracker.comments, lambda one: tracker.set_state(one, TrackerState.DONE)):
        with pytest.raises(NotFoundError):
            act(key)
    assert other.work_item(key).state is TrackerState.TO_ANALYSE
