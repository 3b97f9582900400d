"""Leases on real Postgres, with owners that are real processes: who gets in, who is proven dead, what force does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from orchestrator.adapters.host import LinuxHost
from orchestrator.domain.ownership import Busy, ChildGroup, Committed, HeldLease, HeldMergeLane, Lease, LostRace
from orchestrator.store import leases, tasks
from tests.processes import Children
from tests.store.heart import Heart, at_once


@pytest.fixture
def heart(engine: Engine) -> Heart:
    return Heart(engine)


def lease(heart: Heart, task: int) -> Lease:
    with heart.store.transaction() as connection:
        found = leases.lease_of(connection, task)
    assert found is not None
    return found


def test_of_eight_that_enter_at_once_one_gets_in(heart: Heart) -> None:
    task = heart.task()
    found = at_once(*[lambda: heart.acquire(task)] * 8)
    assert sum(isinstance(one, HeldLease) for one in found) == 1
    assert sum(isinstance(one, Busy) and one.owner == heart.myself for one in found) == 7


def test_a_live_owner_keeps_others_out_and_they_hear_who_it_is(heart: Heart, children: Children) -> None:
    task, child = heart.task(), children.start()
    heart.held(task, heart.owner_of(child.pid))
    found = heart.acquire(task)
    assert isinstance(found, Busy)
    assert found.owner == heart.owner_of(child.pid)
    assert "monitor is inside review -> testing" in found.why


def test_a_stopped_owner_is_alive(heart: Heart, children: Children) -> None:
    task, child = heart.task(), children.start()
    heart.held(task, heart.owner_of(child.pid))
    os.kill(child.pid, signal.SIGSTOP)
    assert isinstance(heart.acquire(task), Busy)


def test_a_live_owner_keeps_its_lease_however_long_it_takes(heart: Heart, children: Children) -> None:
    """A re-test of 15 minutes is no reason to let a second owner in."""
    task, child = heart.task(), children.start()
    held = heart.held(task, heart.owner_of(child.pid))
    heart.run("UPDATE transition_lease SET acquired_at = now() - interval '30 days'")
    assert isinstance(heart.acquire(task), Busy)
    with heart.store.transaction() as connection:
        assert leases.recover_on_startup(connection, heart.host) == []
        assert leases.holds(connection, held)


def test_the_lease_of_a_killed_owner_is_taken_over_with_a_higher_epoch(heart: Heart, children: Children) -> None:
    task, child = heart.task(), children.start()
    first = heart.held(task, heart.owner_of(child.pid))
    child.kill()
    child.wait()
    second = heart.acquire(task)
    assert isinstance(second, HeldLease)
    assert second.epoch > first.epoch


def test_a_killed_owner_that_nobody_waited_for_is_dead(heart: Heart, children: Children) -> None:
    task, child = heart.task(), children.start()
    owner = heart.owner_of(child.pid)
    heart.held(task, owner)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert isinstance(heart.acquire(task), HeldLease)


def test_a_pid_that_was_given_to_another_process_is_not_the_owner(heart: Heart) -> None:
    task = heart.task()
    heart.held(task, heart.gone())
    assert isinstance(heart.acquire(task), HeldLease)


def test_an_owner_on_a_node_that_says_nothing_is_alive(heart: Heart) -> None:
    task = heart.task()
    heart.held(task, replace(heart.myself, node="elsewhere"))
    assert isinstance(heart.acquire(task), Busy)


def test_an_owner_on_a_node_that_was_declared_lost_is_dead(heart: Heart) -> None:
    task, elsewhere = heart.task(), replace(heart.myself, node="elsewhere")
    heart.run(
        "INSERT INTO nodes (node, boot_id, pid_ns, lost_at) VALUES ('elsewhere', :b, 1, now())", b=elsewhere.boot_id
    )
    heart.held(task, elsewhere)
    assert isinstance(heart.acquire(task), HeldLease)


def test_a_stop_request_closes_entry_to_all_but_the_stop_itself(heart: Heart) -> None:
    task = heart.task()
    with heart.store.transaction() as connection:
        tasks.request_stop(connection, task, "ann")
    found = heart.acquire(task)
    assert isinstance(found, Busy)
    assert "STOP" in found.why
    assert isinstance(heart.acquire(task, closing=True), HeldLease)


def test_a_stop_waits_for_a_live_owner(heart: Heart) -> None:
    task = heart.task()
    heart.held(task)
    with heart.store.transaction() as connection:
        tasks.request_stop(connection, task, "ann")
    assert isinstance(heart.acquire(task, closing=True), Busy)


def test_a_released_lease_is_free(heart: Heart) -> None:
    task = heart.task()
    held = heart.held(task)
    with heart.store.transaction() as connection:
        assert isinstance(leases.release(connection, held), Committed)
    again = heart.held(task)
    assert again.epoch == held.epoch + 1


def test_force_raises_the_epoch_and_the_holder_can_give_nothing_back(heart: Heart) -> None:
    task = heart.task()
    held = heart.held(task)
    assert isinstance(heart.force(task, held.epoch), Committed)
    assert heart.one("SELECT lease_epoch FROM tasks WHERE id = :t", t=task) == held.epoch + 1
    successor = heart.held(task)
    with heart.store.transaction() as connection:
        assert isinstance(leases.release(connection, held), LostRace)
        assert not leases.holds(connection, held)
        assert leases.holds(connection, successor)
    assert lease(heart, task).is_held
    assert heart.one("SELECT detail->>'why' FROM events WHERE kind = 'lease.forced'") == "test"


def test_force_that_names_another_lease_does_nothing(heart: Heart) -> None:
    task = heart.task()
    held = heart.held(task)
    assert isinstance(heart.force(task, held.epoch - 1), LostRace)
    assert lease(heart, task).is_held
    assert heart.one("SELECT lease_epoch FROM tasks WHERE id = :t", t=task) == held.epoch


def test_a_command_is_not_announced_under_a_lease_that_was_taken_away(heart: Heart) -> None:
    task = heart.task()
    held = heart.held(task)
    heart.force(task)
    with heart.store.transaction() as connection:
        assert isinstance(leases.set_child(connection, held, ChildGroup(4711, 1)), LostRace)
    assert lease(heart, task).child is None


def test_a_successor_is_told_of_the_command_that_a_dead_owner_left(heart: Heart) -> None:
    task = heart.task()
    dead = heart.held(task, heart.gone())
    with heart.store.transaction() as connection:
        leases.set_child(connection, dead, ChildGroup(4711, 99))
    assert isinstance(heart.force(task, dead.epoch), Committed)  # as the reaper frees it
    second = heart.held(task, heart.gone())
    assert second.orphan == ChildGroup(4711, 99)
    # That one dies before it saw the command's end: the next must hear of it all the same.
    assert heart.held(task).orphan == ChildGroup(4711, 99)


def test_a_command_from_before_a_reboot_is_nobodys(heart: Heart) -> None:
    task = heart.task()
    dead = heart.held(task, replace(heart.myself, boot_id="earlier"))
    with heart.store.transaction() as connection:
        leases.set_child(connection, dead, ChildGroup(4711, 99))
    assert heart.held(task).orphan is None


def test_after_a_reboot_every_lease_of_the_node_is_freed_at_once(heart: Heart, children: Children) -> None:
    rebooted, foreign, alive = heart.task(), heart.task(), heart.task()
    before = heart.held(rebooted, replace(heart.myself, boot_id="earlier"))
    heart.held(foreign, replace(heart.myself, boot_id="earlier", node="elsewhere"))
    heart.held(alive, heart.owner_of(children.start().pid))
    with heart.store.transaction() as connection:
        assert leases.recover_on_startup(connection, heart.host) == [rebooted]
        assert not leases.holds(connection, before)
    assert lease(heart, foreign).is_held
    assert lease(heart, alive).is_held


def test_a_lease_that_is_switched_off_lets_everybody_in_and_compares_no_epoch(heart: Heart) -> None:
    task = heart.task()
    heart.held(task)
    inert = heart.held(task, enforced=False)
    assert not inert.enforced
    with heart.store.transaction() as connection:
        assert leases.holds(connection, inert)
        assert isinstance(leases.release(connection, inert), Committed)
    assert lease(heart, task).is_held


def test_the_lane_of_a_base_branch_has_one_owner(heart: Heart) -> None:
    one, other = heart.held(heart.task()), heart.held(heart.task())
    found = at_once(lambda: heart.lane(one), lambda: heart.lane(other))
    assert sorted(type(each).__name__ for each in found) == ["Busy", "HeldMergeLane"]


def test_the_first_two_that_ever_take_a_lane_do_not_both_get_it(heart: Heart) -> None:
    """There is no row yet that one of them could lock."""
    one, other = heart.held(heart.task()), heart.held(heart.task())
    found = heart.behind(
        lambda connection: leases.acquire_merge_lane(connection, one, "D", "main", heart.host, reclaim=True),
        lambda: heart.lane(other),
    )
    assert isinstance(found, Busy)


def test_a_lane_is_inert_under_a_lease_that_is_switched_off(heart: Heart) -> None:
    lane = heart.lane(heart.held(heart.task()))
    inert = heart.lane(heart.held(heart.task(), enforced=False))
    assert isinstance(inert, HeldMergeLane) and not inert.enforced
    with heart.store.transaction() as connection:
        assert leases.holds_merge_lane(connection, inert)
        leases.release_merge_lane(connection, inert)
        assert isinstance(lane, HeldMergeLane) and leases.holds_merge_lane(connection, lane)


def test_a_lane_is_reclaimed_from_a_dead_owner_only(heart: Heart, children: Children) -> None:
    child = children.start()
    first = heart.lane(heart.held(heart.task(), heart.owner_of(child.pid)))
    assert isinstance(first, HeldMergeLane)
    next_one = heart.held(heart.task())
    assert isinstance(heart.lane(next_one), Busy)
    child.kill()
    child.wait()
    assert isinstance(heart.lane(next_one, reclaim=False), Busy)
    assert isinstance(heart.lane(next_one), HeldMergeLane)
    with heart.store.transaction() as connection:
        assert not leases.holds_merge_lane(connection, first)
        assert isinstance(leases.release_merge_lane(connection, first), LostRace)


def test_a_lane_is_not_given_to_one_whose_transition_was_taken_away(heart: Heart) -> None:
    held = heart.held(heart.task())
    heart.force(held.task_id)
    assert isinstance(heart.lane(held), Busy)


def give_back(heart: Heart, held: HeldLease) -> None:
    with heart.store.transaction() as connection:
        leases.release(connection, held)


def take_away(heart: Heart, held: HeldLease) -> None:
    heart.force(held.task_id)


def take_again(heart: Heart, held: HeldLease) -> None:
    """The same process enters anew: its passage before this one had ended without giving anything back."""
    heart.force(held.task_id)
    assert isinstance(heart.acquire(held.task_id, held.owner), HeldLease)


@pytest.mark.parametrize("end", [give_back, take_away, take_again])
def test_a_lane_whose_lease_has_ended_serves_nobody_though_its_owner_lives(
    heart: Heart, end: Callable[[Heart, HeldLease], None]
) -> None:
    """Else a merge whose owner could not reach the database to give the lane back would stop all others for ever."""
    first = heart.held(heart.task())
    lane, next_one = heart.lane(first), heart.held(heart.task())
    assert isinstance(heart.lane(next_one), Busy)
    end(heart, first)
    assert isinstance(heart.lane(next_one, reclaim=False), Busy)
    assert isinstance(heart.lane(next_one), HeldMergeLane)
    assert isinstance(lane, HeldMergeLane)
    with heart.store.transaction() as connection:
        assert not leases.holds_merge_lane(connection, lane)


def test_the_sweep_frees_a_lane_whose_lease_has_ended(heart: Heart) -> None:
    first = heart.held(heart.task())
    assert isinstance(heart.lane(first), HeldMergeLane)
    give_back(heart, first)
    with heart.store.transaction() as connection:
        assert leases.free_unused_lanes(connection, heart.host) == ["D/main"]


def test_the_sweep_frees_lanes_of_dead_owners_alone(heart: Heart, children: Children) -> None:
    child = children.start()
    lane = heart.lane(heart.held(heart.task(), heart.owner_of(child.pid)))
    assert isinstance(lane, HeldMergeLane)
    with heart.store.transaction() as connection:
        assert leases.free_unused_lanes(connection, heart.host) == []
    child.kill()
    child.wait()
    with heart.store.transaction() as connection:
        assert leases.free_unused_lanes(connection, heart.host) == ["D/main"]
        assert not leases.holds_merge_lane(connection, lane)


def test_another_pid_namespace_of_the_same_node_cannot_be_judged(heart: Heart) -> None:
    task = heart.task()
    heart.held(task, replace(heart.gone(), pid_ns=1))
    assert isinstance(heart.acquire(task), Busy)
    assert isinstance(LinuxHost("here").kill(replace(heart.gone(), pid_ns=1), 0.1), bool)
