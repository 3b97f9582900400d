"""From the tracker to tasks: what a current read asks for, and what it does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.domain.errors import NotFoundError, TransientError, UsageError
from orchestrator.domain.stages import Stage
from orchestrator.engine import deliveries, intake
from orchestrator.engine.context import Engine
from orchestrator.ports import ProjectPorts, Tracker, TrackerState, WorkItem
from orchestrator.store import inbox
from tests.engine.real_engine import World, make_world
from tests.engine.staged import staged
from tests.store.heart import at_once

NOW = datetime.now(UTC)


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> World:
    return make_world(tmp_path, database_url, 'test: ["true"]\n')


class OtherTracker:
    """A tracker of another system: ``items`` as they stand there now."""

    def __init__(self, *items: WorkItem) -> None:
        self.items = {item.key: item for item in items}
        self.fails = False
        self.asked: list[datetime | None] = []

    def work_item(self, key: str) -> WorkItem:
        return self.items[key]

    def changed_since(self, moment: datetime | None, limit: int) -> list[WorkItem]:
        self.asked.append(moment)
        if self.fails:
            raise TransientError("the tracker does not answer")
        found = sorted(self.items.values(), key=lambda item: item.updated_at)
        return [item for item in found if moment is None or item.updated_at >= moment][:limit]

    def set_state(self, key: str, state: TrackerState) -> None:
        self.items[key] = replace(self.items[key], state=state)

    def find_comment(self, key: str, marker: str) -> str | None:
        return None

    def add_comment(self, key: str, marker: str, text: str) -> str:
        return "1"


def item(key: str = "DEMO-7", state: TrackerState = TrackerState.TO_ANALYSE, **more: object) -> WorkItem:
    base = WorkItem(key, "DEMO", "title", "body", state, 0, "ann", (), NOW)
    return replace(base, **more)  # type: ignore[arg-type]  # a test's short hand


def with_tracker(world: World, tracker: Tracker, **config: object) -> Engine:
    ports = world.engine.project("DEMO")
    changed = replace(ports.config, tracker="plane", **config)  # type: ignore[arg-type]  # as above
    found: ProjectPorts = replace(ports, config=changed, tracker=tracker)
    world.engine = replace(world.engine, project=lambda key: found)
    return world.engine


def stages(world: World) -> list[object]:
    return [row[0] for row in world.rows("SELECT stage FROM tasks ORDER BY id")]


# --- adding ----------------------------------------------------------------------------------------------


def test_an_added_item_begins_its_passage_and_is_nudged(world: World) -> None:
    key = intake.add_item(world.engine, "DEMO", "Add a value", author="ann", priority=3)
    assert stages(world) == ["analysis"]
    assert [tuple(row) for row in world.rows("SELECT work_item, priority, author FROM tasks")] == [(key, 3, "ann")]
    assert [name for name, _ in world.nudges.held] == ["drive"]


def test_an_unknown_project_is_refused_with_the_known_ones(world: World) -> None:
    with pytest.raises(NotFoundError) as refused:
        intake.add_item(world.engine, "NONE", "t", author="ann")
    assert "NONE" in str(refused.value) and "DEMO" in str(refused.value.remedy)
    assert stages(world) == []


def test_an_unknown_blocker_is_refused_and_nothing_is_added(world: World) -> None:
    with pytest.raises((NotFoundError, UsageError)):
        intake.add_item(world.engine, "DEMO", "t", author="ann", blocked_by=("DEMO-99",))
    assert stages(world) == []


def test_items_of_another_systems_tracker_are_added_there(world: World) -> None:
    engine = with_tracker(world, OtherTracker())
    with pytest.raises(UsageError, match="plane"):
        intake.add_item(engine, "DEMO", "t", author="ann")


# --- what a read asks for --------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [state for state in TrackerState if state is not TrackerState.TO_ANALYSE])
def test_only_to_analyse_starts_a_task(world: World, state: TrackerState) -> None:
    engine = with_tracker(world, OtherTracker(item(state=state)))
    assert not intake.look_at_item(engine, "DEMO", "DEMO-7")
    assert stages(world) == []


def test_two_reads_at_once_start_one_task(world: World) -> None:
    engine = with_tracker(world, OtherTracker(item()))
    found = at_once(*[lambda: intake.look_at_item(engine, "DEMO", "DEMO-7")] * 4)
    assert sorted(map(bool, found)) == [False, False, False, True]
    assert stages(world) == ["analysis"]
    assert len(world.rows("SELECT 1 FROM jobs")) == 1


def test_an_item_of_an_author_who_is_not_trusted_does_not_start(world: World) -> None:
    engine = with_tracker(world, OtherTracker(item(author="eve")), trusted_authors=("ann",))
    assert not intake.look_at_item(engine, "DEMO", "DEMO-7")
    assert stages(world) == []


def test_what_was_listed_a_moment_ago_is_read_again_before_it_starts(world: World) -> None:
    tracker = OtherTracker(item(state=TrackerState.DONE))
    engine = with_tracker(world, tracker)
    assert not intake.look_at(engine, "DEMO", item())
    assert stages(world) == []


def test_new_words_of_a_live_item_are_facts(world: World) -> None:
    tracker = OtherTracker(item())
    engine = with_tracker(world, tracker)
    intake.look_at_item(engine, "DEMO", "DEMO-7")
    world.nudges.held.clear()
    tracker.items["DEMO-7"] = item(state=TrackerState.IN_PROGRESS, title="other", priority=9, blocked_by=("DEMO-1",))
    assert intake.look_at_item(engine, "DEMO", "DEMO-7")
    assert [tuple(row) for row in world.rows("SELECT title, priority, blocked_by FROM tasks")] == [
        ("other", 9, ["DEMO-1"])
    ]
    assert [(name, values[1]) for name, values in world.nudges.held] == [("drive", "plane")], "the tracker's webhook"
    assert not intake.look_at_item(engine, "DEMO", "DEMO-7")


def test_a_stop_in_the_tracker_is_a_request_unless_that_is_switched_off(world: World) -> None:
    tracker = OtherTracker(item())
    engine = with_tracker(world, tracker)
    intake.look_at_item(engine, "DEMO", "DEMO-7")
    tracker.set_state("DEMO-7", TrackerState.STOP)
    deaf = replace(engine, switches=replace(engine.switches, stop_status_enabled=False))
    intake.look_at_item(deaf, "DEMO", "DEMO-7")
    assert world.rows("SELECT stop_requested_by FROM tasks")[0][0] is None
    assert intake.look_at_item(engine, "DEMO", "DEMO-7")
    assert "moved to STOP" in world.rows("SELECT stop_requested_by FROM tasks")[0][0]
    assert not intake.look_at_item(engine, "DEMO", "DEMO-7")


def test_to_analyse_relaunches_a_parked_task_in_analysis_alone(world: World, tmp_path: Path) -> None:
    tracker = OtherTracker(item())
    engine = with_tracker(world, tracker)
    intake.look_at_item(engine, "DEMO", "DEMO-7")
    assert not intake.look_at_item(engine, "DEMO", "DEMO-7")  # at work: nothing to relaunch
    world.change("UPDATE jobs SET status = 'finished', outcome = 'no-verdict', finished_at = now()")
    world.change("UPDATE tasks SET parked_reason = 'r', parked_at = now()")
    assert intake.look_at_item(engine, "DEMO", "DEMO-7")
    assert world.rows("SELECT parked_at FROM tasks")[0][0] is None


def test_to_analyse_means_nothing_for_a_task_that_is_past_analysis(world: World, tmp_path: Path) -> None:
    task = staged(world, tmp_path, Stage.REVIEW)
    world.change("UPDATE tasks SET parked_reason = 'r', parked_at = now()")
    tracker = OtherTracker(item(task.work_item, title="Add a value", body=""))
    engine = with_tracker(world, tracker)
    assert not intake.look_at_item(engine, "DEMO", task.work_item)
    assert world.rows("SELECT parked_at IS NOT NULL FROM tasks")[0][0]
    assert stages(world) == ["review"]


# --- deliveries ------------------------------------------------------------------------------------------


def delivered(world: World, source: str = "plane") -> int:
    with world.engine.store.transaction() as connection:
        return inbox.receive(
            connection, source=source, delivery="d", dedupe_key="k", event="issue", body=b'{"state": "lies"}'
        ).id


def processed(world: World) -> bool:
    return bool(world.rows("SELECT processed_at IS NOT NULL FROM inbox")[0][0])


def test_a_delivery_is_a_hint_and_what_it_hints_at_is_read(world: World) -> None:
    engine = with_tracker(world, OtherTracker(item()))
    deliveries.process_delivery(engine, delivered(world))
    assert stages(world) == ["analysis"]
    assert processed(world)
    assert world.rows("SELECT title FROM tasks")[0][0] == "title"


def test_a_delivery_that_is_processed_twice_has_its_consequences_once(world: World) -> None:
    engine = with_tracker(world, OtherTracker(item()))
    delivery = delivered(world)
    deliveries.process_delivery(engine, delivery)
    world.nudges.held.clear()
    deliveries.process_delivery(engine, delivery)
    assert stages(world) == ["analysis"]
    assert not world.nudges.held


def test_a_delivery_that_cannot_be_processed_is_kept_and_tried_again_later(world: World) -> None:
    tracker = OtherTracker(item())
    engine = with_tracker(world, tracker)
    delivery = delivered(world)
    tracker.fails = True
    assert deliveries.sweep_inbox(engine) == 1
    assert not processed(world)
    assert "does not answer" in world.rows("SELECT error FROM inbox")[0][0]
    assert deliveries.sweep_inbox(engine) == 0  # its time has not come
    tracker.fails = False
    world.change("UPDATE inbox SET not_before = now() WHERE id = %s", delivery)
    assert deliveries.sweep_inbox(engine) == 1
    assert processed(world)


def test_a_delivery_of_a_system_that_no_project_has_is_processed_without_any_read(world: World) -> None:
    tracker = OtherTracker(item())
    deliveries.process_delivery(with_tracker(world, tracker), delivered(world, "another"))
    assert processed(world) and not tracker.asked


def test_a_change_behind_many_older_items_is_found(world: World) -> None:
    old = [item(f"DEMO-{n}", TrackerState.DONE, updated_at=NOW - timedelta(days=1)) for n in range(100, 400)]
    engine = with_tracker(world, OtherTracker(*old, item()))
    deliveries.process_delivery(engine, delivered(world))
    assert stages(world) == ["analysis"]


def test_every_page_of_changes_is_read_also_where_all_changed_at_one_moment() -> None:
    changes = [item(f"DEMO-{n}", updated_at=NOW + timedelta(seconds=n)) for n in range(450)]
    found = {one.key for one in intake.changed_since(OtherTracker(*changes), None)}
    assert len(found) == 450
    same = [item(f"DEMO-{n}") for n in range(450)]
    assert {one.key for one in intake.changed_since(OtherTracker(*same), NOW)} == {one.key for one in same}
