"""A small, fixed part of the schedules in every run of the suite; ``make schedules`` plays thousands."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from orchestrator import failpoints
from orchestrator.settings import Switches
from tests.schedules import cast, plans
from tests.schedules.__main__ import pinned, play_one, play_random
from tests.schedules.place import Scenario
from tests.schedules.run import Schedule, Stage, parse


@pytest.fixture(scope="module")
def stage(module_database_url: str) -> Iterator[Stage]:
    made = Stage(module_database_url)
    logging.disable(logging.CRITICAL)
    yield made
    logging.disable(logging.NOTSET)
    made.close()
    failpoints.watch(None)


@pytest.mark.parametrize("shard", range(2))
def test_bounded_schedules_of_two_actors_break_nothing(stage: Stage, shard: int) -> None:
    for family, schedule in plans.bounded(4, seed=7, shard=shard, shards=2):
        outcome = stage.play(schedule)
        family.learn(schedule, outcome)
        assert not outcome.breaches, outcome.told()


def test_random_schedules_of_three_actors_with_faults_break_nothing(stage: Stage) -> None:
    for number in range(4):
        outcome = play_random(stage, f"suite.{number}")
        assert not outcome.breaches, outcome.told()


@pytest.mark.parametrize("words", pinned())
def test_a_pinned_schedule_breaks_nothing(stage: Stage, words: str) -> None:
    outcome = play_one(stage, words)
    assert not outcome.breaches, outcome.told()


def test_a_schedule_is_played_again_from_its_text(stage: Stage) -> None:
    first = stage.play(parse("merge/monitor+stop/monitor:12,stop:1,monitor:1,stop"))
    again = stage.play(parse(first.schedule))
    assert (again.schedule, again.trace, again.end) == (first.schedule, first.trace, first.end)


def test_a_killed_actor_gives_nothing_back_and_its_request_may_land_later(stage: Stage) -> None:
    words = "merge@1/monitor+reaper/monitor:merge_pull_request is sent!kill"
    outcome = stage.play(parse(words))
    assert not outcome.breaches, outcome.told()
    assert outcome.takeovers == 1, "the reaper took the lease of the dead owner"
    assert any("merge_pull_request of monitor" in who for who, _, _ in outcome.trace), outcome.told()


def test_an_actor_that_waits_for_a_row_lock_is_seen_waiting_and_others_go_on(stage: Stage) -> None:
    outcome = stage.play(parse("merge~/monitor+gitea/monitor:commit,monitor:commit,gitea,monitor"))
    assert outcome.lock_waits, outcome.told()
    assert not outcome.breaches, outcome.told()


def test_without_the_lease_the_incident_comes_back_and_is_seen(stage: Stage, database_url: str) -> None:
    """A finalizer deep in the gates, somebody else sends the item back, the finalizer merges: rolled back and done."""
    words = "merge/finalizer+operator/finalizer:gate.check_coverage.before,operator,finalizer"
    off = Stage(database_url, switches=Switches(transition_lease_enabled=False))
    try:
        outcome = off.play(parse(words))
    finally:
        off.close()
    assert any(one.startswith(("I2", "I3", "I9")) for one in outcome.breaches), outcome.told()


def test_every_scenario_has_pairs_to_meet() -> None:
    assert all(len(list(plans.pairs(one))) > 60 for one in Scenario)


@pytest.mark.parametrize("part", ["gitea", "plane", "reconciler", "reaper"])
def test_a_part_that_no_pinned_schedule_has_can_be_played(stage: Stage, part: str) -> None:
    """A part that left with an error would be a violation, and one that does nothing would show nothing."""
    outcome = stage.play(Schedule(Scenario.MERGE, (cast.Part(part),)))
    assert not outcome.breaches, outcome.told()
