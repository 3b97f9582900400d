"""The reconciler: nudges what was forgotten, leaves live owners alone, and shows a poll that fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.domain.errors import TransientError
from orchestrator.domain.stages import Actor, EffectKind, Stage
from orchestrator.engine import intake, operator, reconciler
from orchestrator.engine.drive import DrivenKind, drive
from orchestrator.ports import TrackerState, WorkItem
from orchestrator.store import inbox, leases, ledger
from orchestrator.store.ledger import EffectKey
from tests.engine.owners import acquire, dead, owner_of
from tests.engine.real_engine import World, make_world
from tests.engine.staged import Drives, staged
from tests.processes import Children


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> World:
    return make_world(tmp_path, database_url, 'test: ["true"]\n')


def reconcile(world: World) -> dict[str, int]:
    summary = reconciler.reconcile(world.engine)
    assert not summary.failures, summary
    return dict(summary.counts)


def drives_of(world: World) -> list[tuple[object, ...]]:
    return [arguments for name, arguments in world.nudges.held if name == "drive"]


def added(world: World) -> int:
    """An item whose first nudge was lost."""
    intake.add_item(world.engine, "DEMO", "Add a value", author="ann", key="DEMO-1")
    world.nudges.held.clear()
    return int(world.rows("SELECT id FROM tasks")[0][0])


def test_a_task_whose_nudge_was_lost_is_nudged(world: World) -> None:
    task = added(world)
    assert reconcile(world)["nudged"] == 1
    assert drives_of(world) == [(task, Actor.RECONCILER)]


def test_a_task_that_waits_is_not_nudged_and_its_reasons_are_kept(world: World) -> None:
    added(world)
    operator.pause(world.engine, "DEMO", "ann")
    assert reconcile(world)["waiting"] == 1
    assert not drives_of(world)
    assert world.rows("SELECT reasons FROM tasks")[0][0] == ["project DEMO is paused"]


def test_a_live_owner_is_deferred_to_and_a_dead_one_is_not(world: World, children: Children) -> None:
    task, child = added(world), children.start()
    acquire(world, task, owner_of(world, child.pid))
    assert reconcile(world)["deferred"] == 1
    assert not drives_of(world)
    assert world.rows("SELECT value FROM counters WHERE label = 'reconciler'")[0][0] == 1
    child.kill()
    child.wait()
    assert reconcile(world)["nudged"] == 1


def test_a_cancelled_task_is_nudged_until_people_were_told(world: World, tmp_path: Path) -> None:
    task = staged(world, tmp_path, Stage.REVIEW)
    operator.stop(world.engine, task.work_item, "ann")
    world.run_until(lambda: bool(world.rows("SELECT 1 FROM tasks WHERE stop_acknowledged_at IS NOT NULL")))
    assert "nudged" not in reconcile(world)
    world.change("UPDATE tasks SET stop_acknowledged_at = NULL")
    assert reconcile(world)["nudged"] == 1


def test_a_delivery_whose_nudge_was_lost_is_processed(world: World) -> None:
    with world.engine.store.transaction() as connection:
        inbox.receive(connection, source="local", delivery="d", dedupe_key="k", event="e", body=b"")
    assert reconcile(world)["deliveries"] == 1
    assert world.rows("SELECT processed_at IS NOT NULL FROM inbox")[0][0]


def test_an_item_that_no_webhook_told_of_is_found_by_the_poll(world: World) -> None:
    tracker = world.engine.project("DEMO").tracker
    tracker.add_item("Add a value", author="ann")  # type: ignore[attr-defined]  # the built-in tracker
    assert reconcile(world)["polled"] == 1
    assert len(world.rows("SELECT 1 FROM tasks")) == 1


def test_a_merge_by_a_person_is_adopted_and_its_task_nudged(world: World, tmp_path: Path) -> None:
    task = staged(world, tmp_path, Stage.REVIEW)
    world.nudges.held.clear()
    forge = world.engine.project("DEMO").forge
    forge.merge_pull_request(1, expected_head=task.head, message="by hand")
    reconcile(world)
    assert [tuple(row) for row in world.rows("SELECT merged_sha, merged_by_hand FROM tasks")] == [(task.head, True)]
    assert drives_of(world)


class SilentTracker:
    """A tracker that answers when it likes."""

    def __init__(self) -> None:
        self.fails, self.asked = True, list[datetime | None]()

    def work_item(self, key: str) -> WorkItem:
        return WorkItem(key, "DEMO", "t", "", TrackerState.IN_PROGRESS, 0, "ann", (), datetime.now(UTC))

    def changed_since(self, moment: datetime | None, limit: int) -> list[WorkItem]:
        self.asked.append(moment)
        if self.fails:
            raise TransientError("the tracker does not answer")
        return []

    def set_state(self, key: str, state: TrackerState) -> None: ...

    def find_comment(self, key: str, marker: str) -> str | None:
        return None

    def add_comment(self, key: str, marker: str, text: str) -> str:
        return "1"


def test_a_poll_that_fails_shows_as_failing_and_stops_nothing_else(world: World) -> None:
    task, tracker = added(world), SilentTracker()
    ports = world.engine.project("DEMO")
    other = replace(ports, tracker=tracker, config=replace(ports.config, tracker="plane"))
    world.engine = replace(world.engine, project=lambda key: other)
    summary = reconciler.reconcile(world.engine)
    assert summary.counts["nudged"] == 1 and drives_of(world) == [(task, Actor.RECONCILER)]
    assert "does not answer" in summary.failures[0]
    [row] = world.rows("SELECT last_error, last_success_at FROM ticks WHERE name = 'poll:DEMO'")
    assert tuple(row) == ("the tracker does not answer", None)
    # It is not asked again before its interval has passed, and then from the last good poll on.
    tracker.fails = False
    assert reconcile(world)["poll not due"] == 1
    world.change("UPDATE ticks SET last_at = now() - interval '1 hour'")
    assert reconcile(world)["polled"] == 1
    assert tracker.asked == [None, None]
    world.change("UPDATE ticks SET last_at = now() - interval '1 hour'")
    assert reconcile(world)["polled"] == 1
    assert tracker.asked[-1] is not None
    assert world.rows("SELECT last_error FROM ticks WHERE name = 'poll:DEMO'")[0][0] == ""


def test_one_task_that_cannot_be_looked_at_does_not_stop_the_sweep(world: World) -> None:
    added(world)
    intake.add_item(world.engine, "DEMO", "Another", author="ann", key="DEMO-2")
    world.change("UPDATE tasks SET project = 'GONE' WHERE work_item = 'DEMO-1'")
    summary = reconciler.reconcile(world.engine)
    assert summary.counts["nudged"] == 1
    assert any("DEMO-1" in one and "GONE" in one for one in summary.failures)


def test_a_waiting_task_with_a_claim_of_a_dead_owner_has_it_looked_at(world: World, tmp_path: Path) -> None:
    task, drives = staged(world, tmp_path, Stage.DEPLOY_STAGING), Drives(world.environment)
    killed = drives.start("drive", task.task_id, "monitor", 1, failpoints="effect.merge_pr.answered=kill")
    killed.communicate(timeout=90)
    world.change("UPDATE tasks SET parked_reason = 'a person looks', parked_at = now()")
    assert [row[0] for row in world.rows("SELECT status FROM effects WHERE kind = 'merge_pr'")] == ["claimed"]
    world.nudges.held.clear()
    assert reconcile(world)["nudged"] == 1
    world.deliver_all()
    assert [row[0] for row in world.rows("SELECT status FROM effects WHERE kind = 'merge_pr'")] == ["confirmed"]
    assert world.rows("SELECT parked_reason FROM tasks")[0][0] == "a person looks"
    assert "nudged" not in reconcile(world)


def test_a_waiting_task_without_such_a_claim_is_left_in_peace(world: World) -> None:
    task = added(world)
    operator.pause(world.engine, "*", "ann")
    held = acquire(world, task, dead(world))
    with world.engine.store.transaction() as connection:
        ledger.claim_if_epoch_holds(connection, held, EffectKey(0, EffectKind.NOTIFY, "x"), {})
    assert reconcile(world)["waiting"] == 1  # a message has no target that could be asked


# --- a lease that its living owner could not give back ----------------------------------------------------


def test_a_lease_that_this_process_left_behind_does_not_keep_itself_out(world: World) -> None:
    """As after a crash of the database in the middle of an edge: the owner lives and is not inside."""
    task = added(world)
    operator.pause(world.engine, "*", "ann")
    left = acquire(world, task, world.engine.owner())
    operator.resume(world.engine, "*", "ann")
    found = drive(world.engine, task, Actor.RECONCILER)
    assert found.kind is not DrivenKind.DEFERRED, found
    with world.engine.store.transaction() as connection:
        assert not leases.holds(connection, left)
