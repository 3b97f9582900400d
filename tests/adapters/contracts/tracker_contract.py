"""What every tracker must do. A test module derives ``Test…(TrackerContract)`` and gives the ``world`` fixture."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

import pytest

from orchestrator.domain.errors import NotFoundError
from orchestrator.ports import Tracker, TrackerState


class TrackerWorld(Protocol):
    """A tracker and what people do to it from outside."""

    @property
    def tracker(self) -> Tracker: ...

    def another(self) -> Tracker:
        """A tracker on the same items, as another process has it."""

    def add(self, title: str, body: str = "", priority: int = 0, blocked_by: Sequence[str] = ()) -> str:
        """A person adds an item in state «to analyse»; its key."""

    def move(self, key: str, state: TrackerState) -> None:
        """A person moves the item."""

    def comments(self, key: str) -> Sequence[str]:
        """The comments as a person reads them, oldest first, markers hidden."""


class TrackerContract:
    @pytest.fixture
    def world(self) -> TrackerWorld:
        raise NotImplementedError

    def test_an_item_is_read_as_it_was_written(self, world: TrackerWorld) -> None:
        key = world.add("Greet people", "Say hello.\n\nIn every language: Grüße, 你好.", priority=3)
        item = world.tracker.work_item(key)
        assert (item.key, item.title, item.priority) == (key, "Greet people", 3)
        assert item.body == "Say hello.\n\nIn every language: Grüße, 你好."
        assert item.state is TrackerState.TO_ANALYSE
        assert item.author
        assert item.blocked_by == ()
        assert item.updated_at.tzinfo is not None

    def test_an_unknown_item_is_named(self, world: TrackerWorld) -> None:
        key = world.add("one").rpartition("-")[0] + "-9999"
        with pytest.raises(NotFoundError, match=key):
            world.tracker.work_item(key)
        with pytest.raises(NotFoundError, match=key):
            world.tracker.set_state(key, TrackerState.DONE)
        with pytest.raises(NotFoundError, match=key):
            world.tracker.find_comment(key, "marker")
        with pytest.raises(NotFoundError, match=key):
            world.tracker.add_comment(key, "marker", "text")

    @pytest.mark.parametrize("state", list(TrackerState))
    def test_every_state_can_be_set_and_read_again(self, world: TrackerWorld, state: TrackerState) -> None:
        key = world.add("one")
        world.tracker.set_state(key, state)
        assert world.tracker.work_item(key).state is state

    def test_setting_the_state_it_has_is_harmless(self, world: TrackerWorld) -> None:
        key = world.add("one")
        world.tracker.set_state(key, TrackerState.IN_PROGRESS)
        once = world.tracker.work_item(key)
        world.tracker.set_state(key, TrackerState.IN_PROGRESS)
        assert world.tracker.work_item(key) == once

    def test_what_a_person_changed_is_read_at_once(self, world: TrackerWorld) -> None:
        key = world.add("one")
        world.move(key, TrackerState.STOP)
        assert world.tracker.work_item(key).state is TrackerState.STOP

    @pytest.mark.parametrize("end", [TrackerState.DONE, TrackerState.CANCELLED])
    def test_an_item_is_blocked_until_its_blocker_is_over(self, world: TrackerWorld, end: TrackerState) -> None:
        first, second = world.add("first"), world.add("second")
        blocked = world.add("blocked", blocked_by=(first, second))
        assert set(world.tracker.work_item(blocked).blocked_by) == {first, second}
        world.move(first, TrackerState.NEEDS_HUMAN)
        assert set(world.tracker.work_item(blocked).blocked_by) == {first, second}
        world.move(first, end)
        assert world.tracker.work_item(blocked).blocked_by == (second,)

    def test_changes_are_listed_oldest_first_and_from_their_own_moment_on(self, world: TrackerWorld) -> None:
        one, two, three = world.add("one"), world.add("two"), world.add("three")
        world.move(one, TrackerState.STOP)
        everything = world.tracker.changed_since(None, 10)
        assert [item.key for item in everything] == [two, three, one]
        moment = world.tracker.work_item(three).updated_at
        assert [item.key for item in world.tracker.changed_since(moment, 10)] == [three, one]
        assert [item.key for item in world.tracker.changed_since(None, 2)] == [two, three]
        assert world.tracker.changed_since(everything[-1].updated_at + timedelta(seconds=5), 10) == []

    def test_a_comment_is_found_by_its_marker_and_reads_as_written(self, world: TrackerWorld) -> None:
        key, other = world.add("one"), world.add("two")
        assert world.tracker.find_comment(key, "effect-7") is None
        words = "2 < 3 & <script>alert(1)</script> *stars* `ticks`\nsecond line"
        written = world.tracker.add_comment(key, "effect-7", words)
        assert world.tracker.find_comment(key, "effect-7") == written
        assert world.tracker.find_comment(key, "effect-77") is None
        assert world.tracker.find_comment(other, "effect-7") is None
        assert list(world.comments(key)) == [words]

    def test_a_repeated_comment_is_the_same_comment(self, world: TrackerWorld) -> None:
        key = world.add("one")
        first = world.tracker.add_comment(key, "effect-7", "done")
        assert world.another().add_comment(key, "effect-7", "done again") == first
        assert world.tracker.add_comment(key, "effect-8", "more") != first
        assert list(world.comments(key)) == ["done", "more"]

    def test_a_character_that_cannot_be_stored_does_not_stop_a_comment(self, world: TrackerWorld) -> None:
        key = world.add("one")
        world.tracker.add_comment(key, "effect-7", "nul \0 and half a pair \udc80")
        assert len(world.comments(key)) == 1
