"""The plan of a chaos run: one seed, one schedule of faults and one stream of items."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice

import pytest

from tests.chaos.plan import CEILING_S, PROCESSES, QUIET_S, Kind, lines, plan_faults
from tests.chaos.stories import BLOCKED, BROKEN, ENDLESS, PLAIN, REVIEWED, UNHEALTHY, Story, stories

HOUR = 60.0


@pytest.mark.parametrize("seed", [1, 2, 77])
def test_one_seed_gives_one_schedule_whatever_process_asks(seed: int) -> None:
    program = f"from tests.chaos.plan import *; print('\\n'.join(lines(plan_faults({seed}, 3))))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert other.splitlines() == list(lines(plan_faults(seed, 3)))


def test_another_seed_gives_another_schedule() -> None:
    assert plan_faults(1, 3) != plan_faults(2, 3)


def test_a_longer_run_does_every_fault_to_every_kind_of_process() -> None:
    seen = {(one.kind, one.target) for one in plan_faults(1, HOUR)}
    assert seen >= {(kind, target) for kind in (Kind.KILL, Kind.STOP) for target in PROCESSES}
    assert {kind for kind, _target in seen} == set(Kind)


@pytest.mark.parametrize("seed", range(20))
def test_twenty_runs_of_three_minutes_have_no_fault_twice_before_each_came_once(seed: int) -> None:
    faults = plan_faults(seed, 3)
    assert len(faults) > 20
    assert len({(one.kind, one.target) for one in faults}) == len(faults)


@pytest.mark.parametrize("minutes", [0.7, 3.0, HOUR])
def test_faults_come_in_order_and_leave_time_at_both_ends(minutes: float) -> None:
    times = [one.at_s for one in plan_faults(1, minutes)]
    assert times == sorted(times)
    assert times[0] >= QUIET_S
    assert times[-1] <= minutes * 60 - QUIET_S


def test_what_is_frozen_outlasts_the_ceiling_and_comes_only_in_long_runs() -> None:
    frozen = [one for one in plan_faults(1, HOUR) if one.kind is Kind.FREEZE]
    assert frozen
    assert all(one.lasts_s > CEILING_S for one in frozen)
    assert not [one for one in plan_faults(1, 3) if one.kind is Kind.FREEZE]


def test_a_fault_is_told_in_one_line() -> None:
    first = plan_faults(1, 3)[0]
    assert str(first).startswith("#1   at    6.0 s  ")


def first(seed: int, count: int) -> list[Story]:
    return list(islice(stories(seed), count))


def test_one_seed_gives_one_stream_of_items() -> None:
    assert first(1, 60) == first(1, 60)
    assert first(1, 60) != first(2, 60)


def test_the_first_items_are_of_every_kind_so_that_a_short_run_sees_them_all() -> None:
    early = first(3, 8)
    assert {one.plan for one in early} == {PLAIN, REVIEWED, BROKEN, UNHEALTHY, BLOCKED, ENDLESS}
    assert any(one.after_previous for one in early)
    assert any(one.stop_after_s is not None and one.plan == PLAIN for one in early)


def test_what_works_for_ever_is_always_stopped() -> None:
    assert all(one.stop_after_s is not None for one in first(1, 300) if one.plan == ENDLESS)
