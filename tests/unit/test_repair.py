"""What the reaper would do with a running job: one look in, one repair out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.repair import Bounds, Defer, JobSight, Leave, NudgeFinish, Reap, Repair, Tier, repair_of

BOUNDS = Bounds(dead_ticks=2, grace_s=300, ceiling_s=1000)
AT_WORK = JobSight(
    running_s=10,
    exited_s=None,
    settled=False,
    waits=False,
    process_dead=False,
    exit_unrecorded=False,
    dead_ticks=0,
    finalizer_alive=False,
)
DEAD = replace(AT_WORK, process_dead=True)
EXITED = replace(AT_WORK, exited_s=301, process_dead=None)
SETTLED = replace(EXITED, settled=True)


def tier(found: Repair) -> Tier | None:
    return found.tier if isinstance(found, Reap) else None


def test_a_job_whose_process_lives_is_left_alone() -> None:
    assert repair_of(AT_WORK, BOUNDS) == Leave()


def test_a_process_that_this_node_cannot_see_is_left_alone() -> None:
    assert repair_of(replace(AT_WORK, process_dead=None), BOUNDS) == Leave()


def test_a_dead_process_is_reaped_only_when_seen_dead_in_a_row() -> None:
    assert repair_of(DEAD, BOUNDS) == Leave(dead_seen=True)
    assert tier(repair_of(replace(DEAD, dead_ticks=1), BOUNDS)) is Tier.DEAD_PROCESS


def test_an_exit_that_only_the_node_knows_is_finished_and_not_reaped() -> None:
    sight = replace(AT_WORK, exit_unrecorded=True, process_dead=None, dead_ticks=5)
    assert repair_of(sight, BOUNDS) == NudgeFinish()


def test_an_exit_within_its_grace_is_left_to_its_finalizer() -> None:
    assert repair_of(replace(EXITED, exited_s=300), BOUNDS) == Leave()


def test_an_exit_past_its_grace_that_nobody_finalizes_is_reaped_and_says_how_far_it_is() -> None:
    found = repair_of(EXITED, BOUNDS)
    assert isinstance(found, Reap) and found.tier is Tier.NOT_FINALIZED
    assert "301 s" in found.evidence and "not read yet" in found.evidence
    assert tier(repair_of(SETTLED, BOUNDS)) is Tier.NOT_FINALIZED


def test_a_live_finalizer_is_deferred_to_however_long_ago_the_exit_is() -> None:
    assert repair_of(replace(EXITED, exited_s=900, running_s=950, finalizer_alive=True), BOUNDS) == Defer()


def test_a_settled_job_whose_task_has_nothing_to_do_is_left_alone() -> None:
    assert repair_of(replace(SETTLED, waits=True), BOUNDS) == Leave()


@pytest.mark.parametrize(
    "sight", [AT_WORK, EXITED, replace(EXITED, finalizer_alive=True), replace(AT_WORK, exit_unrecorded=True)]
)
def test_the_ceiling_ignores_every_marker(sight: JobSight) -> None:
    assert tier(repair_of(replace(sight, running_s=1000), BOUNDS)) is not Tier.CEILING
    assert tier(repair_of(replace(sight, running_s=1001), BOUNDS)) is Tier.CEILING


def test_a_settled_job_has_no_process_and_so_no_ceiling_of_its_own() -> None:
    waiting = replace(SETTLED, waits=True, running_s=5000, exited_s=4000)
    assert repair_of(waiting, BOUNDS) == Leave()
    assert repair_of(replace(waiting, waits=False, finalizer_alive=True), BOUNDS) == Defer()
