"""A person drags the card of a live task: the entry, a relaunch in analysis and STOP mean something, all else is put
back once, with a comment once, whoever dies meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import failpoints
from orchestrator.domain.stages import Actor, EffectKind, Stage
from orchestrator.domain.work_items import TrackerState
from orchestrator.engine import intake
from orchestrator.engine.drive import drive
from orchestrator.failpoints import FailpointError
from tests.engine.real_engine import World, make_world
from tests.engine.staged import staged

WRONG = [TrackerState.BACKLOG, TrackerState.NEEDS_HUMAN, TrackerState.DONE, TrackerState.CANCELLED]


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    yield make_world(tmp_path, database_url, 'test: ["true"]\n')
    failpoints.arm("")


class Card:
    """A task at a stage whose card we had put to «in progress»; an agent works on it, or it is parked."""

    def __init__(self, world: World, tmp_path: Path, stage: Stage, *, parked: bool = False) -> None:
        self.world, self.task = world, staged(world, tmp_path, stage)
        self.tracker = world.engine.project("DEMO").tracker
        self.tracker.set_state(self.key, TrackerState.IN_PROGRESS)
        world.change(
            "INSERT INTO effects (task_id, visit, kind, target, status, epoch, actor, request, settled_at)"
            " SELECT id, 0, 'tracker_state', 'in-progress/started', 'confirmed', lease_epoch, 'monitor',"
            ' \'{"state": "in-progress"}\', now() FROM tasks'
        )
        if parked:
            world.change("UPDATE tasks SET parked_reason = 'r', parked_at = now()")
        else:
            # Its agent works: nothing else is decided meanwhile.
            world.change(
                "UPDATE jobs SET status = 'running', outcome = NULL, verdict = NULL, exited_at = NULL"
                " WHERE stage = (SELECT stage FROM tasks)"
            )

    @property
    def key(self) -> str:
        return self.task.work_item

    def move(self, state: TrackerState) -> None:
        """A person moves the card, and somebody looks."""
        self.tracker.set_state(self.key, state)
        intake.look_at_item(self.world.engine, "DEMO", self.key)

    def drive(self) -> None:
        task_id = self.world.rows("SELECT id FROM tasks")[0][0]
        drive(self.world.engine, int(task_id), Actor.MONITOR)

    def state(self) -> TrackerState:
        return self.tracker.work_item(self.key).state

    def comments(self) -> list[str]:
        return [one.text for one in self.tracker.comments(self.key)]  # type: ignore[attr-defined]  # the built-in one

    def events(self, kind: str) -> int:
        return int(self.world.rows("SELECT count(*) FROM events WHERE kind = %s", kind)[0][0])


@pytest.mark.parametrize("parked", [False, True])
@pytest.mark.parametrize("state", [*WRONG, TrackerState.TO_ANALYSE])
def test_a_card_that_is_moved_where_it_does_not_belong_is_put_back_with_a_comment(
    world: World, tmp_path: Path, state: TrackerState, parked: bool
) -> None:
    card = Card(world, tmp_path, Stage.REVIEW, parked=parked)
    card.move(state)
    card.move(state)
    card.drive()
    card.drive()
    assert card.state() is TrackerState.IN_PROGRESS
    assert len(card.comments()) == 1
    assert f"moved to {state}" in card.comments()[0] and "orch retry" in card.comments()[0]
    assert world.rows("SELECT stage, parked_at IS NOT NULL FROM tasks")[0][0:2] == ("review", parked)
    assert (card.events("card.moved"), card.events("card.answered")) == (1, 1)


def test_a_card_that_is_moved_again_is_answered_again(world: World, tmp_path: Path) -> None:
    card = Card(world, tmp_path, Stage.REVIEW)
    for _ in range(2):
        card.move(TrackerState.DONE)
        card.drive()
    assert card.state() is TrackerState.IN_PROGRESS and len(card.comments()) == 2


def test_stop_is_a_wish_and_is_not_put_back(world: World, tmp_path: Path) -> None:
    card = Card(world, tmp_path, Stage.REVIEW)
    card.move(TrackerState.STOP)
    assert card.events("card.moved") == 0
    assert world.rows("SELECT stop_requested_at IS NOT NULL FROM tasks")[0][0]


def test_a_card_that_a_person_put_back_himself_is_not_commented(world: World, tmp_path: Path) -> None:
    card = Card(world, tmp_path, Stage.REVIEW)
    card.move(TrackerState.DONE)
    card.tracker.set_state(card.key, TrackerState.IN_PROGRESS)
    card.drive()
    assert card.comments() == [] and card.events("card.answered") == 1


def test_a_card_whose_end_is_being_written_is_left_alone(world: World, tmp_path: Path) -> None:
    """Between the write of «done» and the commit of the stage the card stands where the task will be."""
    card = Card(world, tmp_path, Stage.DEPLOY)
    world.change('UPDATE effects SET request = \'{"state": "done"}\'')
    card.move(TrackerState.DONE)
    assert card.events("card.moved") == 0
    world.change("UPDATE effects SET status = 'claimed', settled_at = NULL")
    card.move(TrackerState.IN_PROGRESS)
    assert card.events("card.moved") == 0


def test_a_relaunch_in_analysis_brings_the_card_to_in_progress_again(world: World, tmp_path: Path) -> None:
    card = Card(world, tmp_path, Stage.ANALYSIS, parked=True)
    card.move(TrackerState.TO_ANALYSE)
    assert world.rows("SELECT parked_at FROM tasks")[0][0] is None
    card.drive()
    assert card.state() is TrackerState.IN_PROGRESS
    assert card.comments()[0] == f"{card.key} is tried again."


@pytest.mark.parametrize("kind", [EffectKind.TRACKER_COMMENT, EffectKind.TRACKER_STATE])
@pytest.mark.parametrize("moment", ["claimed", "sent", "answered", "confirmed"])
def test_an_owner_that_dies_between_comment_and_card_leaves_one_of_each(
    world: World, tmp_path: Path, kind: EffectKind, moment: str
) -> None:
    card = Card(world, tmp_path, Stage.REVIEW)
    card.move(TrackerState.DONE)
    failpoints.arm(f"effect.{kind}.{moment}=raise")
    with contextlib.suppress(FailpointError):
        card.drive()
    failpoints.arm("")
    world.change("UPDATE transition_lease SET released_at = now()")
    world.change("DELETE FROM gate_results")
    card.drive()
    assert card.state() is TrackerState.IN_PROGRESS
    assert len(card.comments()) == 1
    assert card.events("card.answered") == 1
