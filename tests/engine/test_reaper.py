"""The reaper on real rows, processes and run directories: three tiers, and what it must leave alone."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.ownership import ChildGroup, Committed, HeldMergeLane
from orchestrator.domain.stages import Stage
from orchestrator.domain.views import JobStatus, Outcome
from orchestrator.engine import intake, reaper
from orchestrator.ports import Notification
from orchestrator.store import jobs, leases
from tests.engine.owners import acquire, dead, owner_of, running_job
from tests.engine.real_engine import World, make_world
from tests.engine.staged import staged
from tests.processes import Children, is_running, until

WAITING = """SELECT count(*) FROM pg_stat_activity
  WHERE datname = current_database() AND wait_event_type = 'Lock'"""
"""How many statements wait for a row of another transaction."""


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> World:
    return make_world(tmp_path, database_url, 'test: ["true"]\n')


def task_of(world: World) -> int:
    return int(world.rows("SELECT id FROM tasks")[0][0])


def reap(world: World) -> dict[str, int]:
    summary = reaper.reap(world.engine)
    assert not summary.failures
    return dict(summary.counts)


def status(world: World) -> tuple[object, ...]:
    return tuple(world.rows("SELECT status, outcome, counted FROM jobs")[0])


def nudged(world: World) -> list[str]:
    return [name for name, _ in world.nudges.held]


# --- tier 1 ----------------------------------------------------------------------------------------------


def test_a_run_that_is_seen_dead_twice_in_a_row_is_lost_and_not_counted(world: World) -> None:
    running_job(world, dead(world), dead(world))
    assert reap(world)["left"] == 1
    assert status(world)[0] == "running"
    assert reap(world)["tier 1"] == 1
    assert status(world) == ("lost", "lost", False)
    assert nudged(world) == ["drive"]
    event = world.rows("SELECT detail FROM events WHERE kind = 'job.reaped'")[0][0]
    assert event["tier"] == 1 and "no exit record" in event["evidence"]
    assert world.rows("SELECT value FROM counters WHERE name = 'reaps_total' AND label = '1'")[0][0] == 1


def test_a_reaper_that_loses_the_flip_records_nothing_and_nudges_nobody(world: World) -> None:
    """Two reapers judged the same dead run; the other one's flip is done and not yet committed."""
    job, found = running_job(world, dead(world), dead(world)), []
    world.change("UPDATE jobs SET dead_ticks = 1")
    with world.engine.store.transaction() as connection:
        assert isinstance(
            jobs.flip(connection, job, JobStatus.LOST, Outcome.LOST, "the other", counted=False), Committed
        )
        loser = threading.Thread(target=lambda: found.append(reap(world)))
        loser.start()
        until(lambda: world.rows(WAITING)[0][0], timeout_s=60)
    loser.join(60)
    assert len(found) == 1, "the second sweep did not end"
    assert world.rows("SELECT detail FROM jobs") == [("the other",)]
    assert nudged(world) == []
    assert world.rows("SELECT 1 FROM events WHERE kind = 'job.reaped'") == []
    assert world.rows("SELECT 1 FROM counters WHERE name = 'reaps_total'") == []


def test_a_live_shim_is_left_alone_and_its_count_begins_anew(world: World, children: Children) -> None:
    running_job(world, dead(world), owner_of(world, children.start().pid))
    world.change("UPDATE jobs SET dead_ticks = 1")
    assert reap(world)["left"] == 1
    assert world.rows("SELECT dead_ticks FROM jobs")[0][0] == 0


def test_before_the_shim_came_up_the_launcher_stands_for_it(world: World, children: Children) -> None:
    launcher = children.start()
    running_job(world, owner_of(world, launcher.pid))
    assert reap(world)["left"] == reap(world)["left"] == 1
    launcher.kill()
    launcher.wait()
    reap(world)
    assert reap(world)["tier 1"] == 1


def test_a_run_of_another_node_is_not_judged_from_here(world: World) -> None:
    running_job(world, replace(dead(world), node="far"), replace(dead(world), node="far"))
    world.change("UPDATE agent_runs SET node = 'far'")
    reap(world)
    assert reap(world)["left"] == 1
    assert status(world)[0] == "running"


def test_a_run_of_a_node_that_was_declared_lost_is_lost(world: World) -> None:
    running_job(world, replace(dead(world), node="far"), replace(dead(world), node="far"))
    world.change("UPDATE agent_runs SET node = 'far'")
    world.change(
        "INSERT INTO nodes (node, boot_id, pid_ns, last_seen_at) VALUES ('far', 'b', 1, now() - interval '1 hour')"
    )
    for _ in range(3):
        reap(world)
    assert status(world)[0] == "lost"


# --- tier 2 ----------------------------------------------------------------------------------------------


def settled(world: World, tmp_path: Path) -> int:
    """A task in review whose agent passed long ago and that nobody drove on."""
    task = staged(world, tmp_path, Stage.REVIEW)
    world.nudges.held.clear()
    world.change("UPDATE jobs SET exited_at = now() - interval '1 hour' WHERE status = 'running'")
    return task.task_id


def test_a_settled_job_that_nobody_drives_on_is_nudged(world: World, tmp_path: Path) -> None:
    settled(world, tmp_path)
    assert reap(world)["tier 2"] == 1
    assert nudged(world) == ["drive"]


def test_a_live_owner_of_the_lease_is_deferred_to(world: World, tmp_path: Path, children: Children) -> None:
    acquire(world, settled(world, tmp_path), owner_of(world, children.start().pid))
    assert reap(world)["deferred"] == 1
    assert nudged(world) == []
    assert world.rows("SELECT value FROM counters WHERE name = 'finalizer_defers_total'")[0][0] == 1


def test_the_switch_makes_the_reaper_believe_no_marker(world: World, tmp_path: Path, children: Children) -> None:
    acquire(world, settled(world, tmp_path), owner_of(world, children.start().pid))
    engine = world.engine
    believing_nobody = replace(engine.switches, reaper_finalizer_liveness_enabled=False)
    world.engine = replace(engine, switches=believing_nobody)
    assert reap(world)["tier 2"] == 1


def test_with_the_lease_off_the_marker_on_the_job_is_looked_at(
    world: World, tmp_path: Path, children: Children
) -> None:
    task = settled(world, tmp_path)
    world.engine = replace(world.engine, switches=replace(world.engine.switches, transition_lease_enabled=False))
    finalizer = owner_of(world, children.start().pid)
    with world.engine.store.transaction() as connection:
        jobs.set_finalizer(connection, task, finalizer)
    assert reap(world)["deferred"] == 1
    with world.engine.store.transaction() as connection:
        jobs.clear_finalizer(connection, task, dead(world))  # somebody else's leaving does not clear it
    assert reap(world)["deferred"] == 1
    with world.engine.store.transaction() as connection:
        jobs.clear_finalizer(connection, task, finalizer)
    assert reap(world)["tier 2"] == 1


def test_a_settled_job_of_a_task_that_has_to_wait_is_left_alone(world: World, tmp_path: Path) -> None:
    settled(world, tmp_path)
    world.change("INSERT INTO switches (name, scope, set_by) VALUES ('panic', '*', 'ann')")
    assert reap(world)["left"] == 1
    assert nudged(world) == []
    assert world.rows("SELECT 1 FROM events WHERE kind = 'job.reaped'") == []


# --- tier 3 ----------------------------------------------------------------------------------------------


class People:
    """Whom alerts reach."""

    name = "people"

    def __init__(self) -> None:
        self.sent: list[Notification] = []

    def send(self, notification: Notification) -> None:
        self.sent.append(notification)


def over_the_ceiling(world: World) -> People:
    told = People()
    world.engine = replace(world.engine, notifiers=(told,))
    world.change("UPDATE jobs SET started_at = now() - interval '7 hours' WHERE status = 'running'")
    world.change("UPDATE transition_lease SET acquired_at = now() - interval '7 hours'")
    return told


def test_at_the_ceiling_the_owner_is_killed_and_seen_dead_before_its_lease_is_taken_away(
    world: World, children: Children
) -> None:
    owner = children.start()
    running_job(world, dead(world), owner_of(world, children.start().pid))
    held = acquire(world, task_of(world), owner_of(world, owner.pid))
    told = over_the_ceiling(world)
    assert reap(world)["tier 3"] >= 1
    assert not is_running(owner.pid)
    assert status(world) == ("finished", "killed", True)
    with world.engine.store.transaction() as connection:
        assert not leases.holds(connection, held)
    assert "is dead, its lease was taken away" in told.sent[0].text
    assert told.sent[0].severity == "alert"
    assert "drive" in nudged(world)


def test_a_lease_held_over_the_ceiling_is_ended_without_any_job(world: World, children: Children) -> None:
    intake.add_item(world.engine, "DEMO", "Add a value", author="ann")
    owner, command = children.start(), children.start()
    held = acquire(world, task_of(world), owner_of(world, owner.pid))
    with world.engine.store.transaction() as connection:
        leases.set_child(connection, held, ChildGroup(command.pid, owner_of(world, command.pid).start_ticks))
    told = over_the_ceiling(world)
    assert reap(world)["tier 3"] == 1
    assert not is_running(owner.pid) and not is_running(command.pid)
    assert len(told.sent) == 1


def test_an_owner_that_cannot_be_killed_loses_its_lease_all_the_same_and_people_hear_that_it_lives(
    world: World,
) -> None:
    intake.add_item(world.engine, "DEMO", "Add a value", author="ann")
    held = acquire(world, task_of(world), replace(dead(world), node="far"))
    told = over_the_ceiling(world)
    assert reap(world)["tier 3"] == 1
    with world.engine.store.transaction() as connection:
        assert not leases.holds(connection, held)
    assert "could NOT be killed" in told.sent[0].text


def test_an_alert_that_cannot_be_sent_does_not_undo_the_repair(world: World) -> None:
    intake.add_item(world.engine, "DEMO", "Add a value", author="ann")
    acquire(world, task_of(world), replace(dead(world), node="far"))
    over_the_ceiling(world)

    class Broken:
        name = "broken"

        def send(self, notification: object) -> None:
            raise RuntimeError("no network")

    world.engine = replace(world.engine, notifiers=(Broken(),))
    assert reap(world)["tier 3"] == 1


# --- leases, lanes, and one bad row ----------------------------------------------------------------------


def test_the_lease_of_a_dead_owner_is_freed_and_its_task_nudged(world: World) -> None:
    intake.add_item(world.engine, "DEMO", "Add a value", author="ann")
    world.nudges.held.clear()
    acquire(world, task_of(world), dead(world))
    assert reap(world)["dead owner freed"] == 1
    assert nudged(world) == ["drive"]
    assert "is dead" in world.rows("SELECT detail->>'why' FROM events WHERE kind = 'lease.forced'")[0][0]


def test_a_live_lease_is_left_alone(world: World, children: Children) -> None:
    intake.add_item(world.engine, "DEMO", "Add a value", author="ann")
    acquire(world, task_of(world), owner_of(world, children.start().pid))
    assert reap(world)["left"] == 1


@pytest.mark.parametrize("reclaims", [True, False])
def test_the_lane_of_a_dead_owner_is_freed_unless_that_is_switched_off(world: World, reclaims: bool) -> None:
    intake.add_item(world.engine, "DEMO", "Add a value", author="ann")
    held = acquire(world, task_of(world), dead(world))
    engine = world.engine
    with engine.store.transaction() as connection:
        lane = leases.acquire_merge_lane(connection, held, "DEMO", "main", engine.host, reclaim=True)
    assert isinstance(lane, HeldMergeLane)
    world.engine = replace(engine, switches=replace(engine.switches, lease_reclaim_enabled=reclaims))
    reap(world)
    with engine.store.transaction() as connection:
        assert leases.holds_merge_lane(connection, lane) is not reclaims


def test_one_row_that_cannot_be_looked_at_does_not_stop_the_sweep(world: World, tmp_path: Path) -> None:
    settled(world, tmp_path)
    intake.add_item(world.engine, "DEMO", "Another", author="ann", key="DEMO-2")
    world.change("UPDATE tasks SET project = 'GONE' WHERE work_item = 'DEMO-1'")
    other = int(world.rows("SELECT id FROM tasks WHERE work_item = 'DEMO-2'")[0][0])
    acquire(world, other, dead(world))
    summary = reaper.reap(world.engine)
    assert len(summary.failures) == 1 and "DEMO-1" in summary.failures[0] and "GONE" in summary.failures[0]
    assert summary.counts["dead owner freed"] == 1
