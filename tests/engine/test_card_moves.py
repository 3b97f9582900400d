"""The card of a live task stands where the task does. A person drags it: the entry, a relaunch in analysis and STOP
mean something, all else is put back once, with a comment once, whoever dies meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import audit, failpoints
from orchestrator.adapters.trackers.local import LocalTracker
from orchestrator.domain.errors import TransientError
from orchestrator.domain.stages import Actor, EffectKind, Stage
from orchestrator.domain.work_items import TrackerState
from orchestrator.engine import intake, operator
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
            self.park()
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
        self.look()

    def park(self) -> None:
        """Stand still; a retry has its agent work again, and nothing else is decided meanwhile."""
        self.world.change(
            "UPDATE jobs SET status = 'finished', outcome = 'no-verdict', verdict = NULL, finished_at = now()"
            " WHERE stage = (SELECT stage FROM tasks)"
        )
        self.world.change("UPDATE tasks SET parked_reason = 'r', parked_at = clock_timestamp()")

    def look(self) -> None:
        intake.look_at_item(self.world.engine, "DEMO", self.key)

    def writes(self) -> list[str]:
        """Every state that our own writes put the card to, in order, as the ledger has it."""
        rows = self.world.rows("SELECT request->>'state' FROM effects WHERE kind = 'tracker_state' ORDER BY id")
        return [str(state) for (state,) in rows]

    def drive(self) -> None:
        task_id = self.world.rows("SELECT id FROM tasks")[0][0]
        drive(self.world.engine, int(task_id), Actor.MONITOR)

    def state(self) -> TrackerState:
        return self.tracker.work_item(self.key).state

    def comments(self) -> list[str]:
        return [one.text for one in self.tracker.comments(self.key)]  # type: ignore[attr-defined]  # the built-in one

    def events(self, kind: str) -> int:
        return int(self.world.rows("SELECT count(*) FROM events WHERE kind = %s", kind)[0][0])


@pytest.mark.parametrize("state", [*WRONG, TrackerState.TO_ANALYSE])
def test_a_card_that_is_moved_where_it_does_not_belong_is_put_back_with_a_comment(
    world: World, tmp_path: Path, state: TrackerState
) -> None:
    card = Card(world, tmp_path, Stage.REVIEW)
    card.move(state)
    card.move(state)
    card.drive()
    card.drive()
    assert card.state() is TrackerState.IN_PROGRESS
    assert len(card.comments()) == 1
    assert f"moved to {state}" in card.comments()[0] and "orch retry" in card.comments()[0]
    assert world.rows("SELECT stage FROM tasks") == [("review",)]
    assert (card.events("card.moved"), card.events("card.answered")) == (1, 1)


# --- a task that waits for a person ----------------------------------------------------------------------


def test_the_card_of_a_task_that_is_parked_goes_to_needs_human_once(world: World, tmp_path: Path) -> None:
    card = Card(world, tmp_path, Stage.REVIEW)
    world.change(
        "UPDATE jobs SET outcome = 'auth', detail = 'no key', exited_at = now() WHERE stage = (SELECT stage FROM tasks)"
    )
    card.drive()
    assert card.state() is TrackerState.NEEDS_HUMAN
    for _ in range(2):
        card.look()
        card.drive()
    assert card.writes() == ["in-progress", "needs-human"]
    assert card.comments() == [] and card.events("card.moved") == 0
    assert "cannot start (auth): no key" in world.rows("SELECT parked_reason FROM tasks")[0][0]


def test_the_card_of_a_task_that_goes_on_goes_back_and_so_at_each_park(world: World, tmp_path: Path) -> None:
    card = Card(world, tmp_path, Stage.REVIEW, parked=True)
    for _ in range(2):
        card.drive()
        assert card.state() is TrackerState.NEEDS_HUMAN
        operator.retry(world.engine, card.key, "ann")
        card.drive()
        assert card.state() is TrackerState.IN_PROGRESS
        card.park()
    assert card.writes() == ["in-progress", *["needs-human", "in-progress"] * 2]
    assert card.comments() == []


@pytest.mark.parametrize(
    "state",
    [
        TrackerState.BACKLOG,
        TrackerState.IN_PROGRESS,
        TrackerState.TO_ANALYSE,
        TrackerState.DONE,
        TrackerState.CANCELLED,
    ],
)
def test_a_card_that_is_moved_out_of_needs_human_is_put_back_with_the_reason(
    world: World, tmp_path: Path, state: TrackerState
) -> None:
    card = Card(world, tmp_path, Stage.REVIEW, parked=True)
    card.drive()
    card.move(state)
    card.drive()
    card.drive()
    assert card.state() is TrackerState.NEEDS_HUMAN
    assert len(card.comments()) == 1
    assert all(word in card.comments()[0] for word in (f"moved to {state}", ": r\n", "orch retry"))
    assert world.rows("SELECT stage, parked_at IS NOT NULL FROM tasks") == [("review", True)]


def test_a_card_that_a_person_moved_as_its_task_was_parked_is_answered_and_not_written_over(
    world: World, tmp_path: Path
) -> None:
    card = Card(world, tmp_path, Stage.REVIEW, parked=True)
    card.tracker.set_state(card.key, TrackerState.DONE)
    card.drive()
    assert card.state() is TrackerState.NEEDS_HUMAN
    assert len(card.comments()) == 1 and "moved to done" in card.comments()[0]


def test_a_card_that_a_person_brought_to_needs_human_as_well_is_no_matter(world: World, tmp_path: Path) -> None:
    card = Card(world, tmp_path, Stage.REVIEW, parked=True)
    card.move(TrackerState.NEEDS_HUMAN)
    card.drive()
    assert card.state() is TrackerState.NEEDS_HUMAN and card.comments() == []


def test_a_stop_on_the_card_of_a_parked_task_stays_and_ends_it(world: World, tmp_path: Path) -> None:
    card = Card(world, tmp_path, Stage.REVIEW, parked=True)
    card.tracker.set_state(card.key, TrackerState.STOP)
    card.drive()
    assert card.state() is TrackerState.STOP
    card.look()
    card.drive()
    assert card.state() is TrackerState.CANCELLED


def test_a_tracker_that_does_not_answer_keeps_no_task_from_standing_still_and_is_asked_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card(world, tmp_path, Stage.REVIEW, parked=True)
    with monkeypatch.context() as broken:
        broken.setattr(LocalTracker, "set_state_if", _no_answer)
        card.drive()
    (parked, why, until) = world.rows("SELECT parked_at IS NOT NULL, reasons, reasons_until FROM tasks")[0]
    assert parked and "cannot be seen done" in str(why) and until is not None
    report = audit.audit(world.engine)
    assert not [one for one in report.breaches if "open at rest" in one.evidence], report.breaches
    world.change("UPDATE gate_results SET not_before = now()")
    card.drive()
    assert card.state() is TrackerState.NEEDS_HUMAN
    assert world.rows("SELECT count(*) FROM effects WHERE kind = 'tracker_state' AND status = 'claimed'") == [(0,)]


@pytest.mark.parametrize("moment", ["claimed", "looked", "sent", "answered", "confirmed"])
@pytest.mark.parametrize("parked", [True, False])
def test_an_owner_that_dies_while_it_moves_the_card_leaves_it_moved_once(
    world: World, tmp_path: Path, parked: bool, moment: str
) -> None:
    card = Card(world, tmp_path, Stage.REVIEW, parked=True)
    if not parked:
        card.drive()
        operator.retry(world.engine, card.key, "ann")
    failpoints.arm(f"effect.tracker_state.{moment}=raise")
    with contextlib.suppress(FailpointError):
        card.drive()
    failpoints.arm("")
    world.change("UPDATE transition_lease SET released_at = now()")
    world.change("DELETE FROM gate_results")
    card.drive()
    expected = ["in-progress", "needs-human"] + ([] if parked else ["in-progress"])
    assert card.state() == expected[-1]
    assert card.writes() == expected
    assert world.rows("SELECT count(*) FROM effects WHERE kind = 'tracker_state' AND status = 'claimed'") == [(0,)]
    assert card.comments() == []


def _no_answer(*_given: object, **_named: object) -> bool:
    raise TransientError("no answer")


# --- moves of people -------------------------------------------------------------------------------------


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
