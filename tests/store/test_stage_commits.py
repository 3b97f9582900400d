"""The stage commit: one winner, and a loser that leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from orchestrator.domain.ownership import Committed, LostRace
from orchestrator.domain.stages import Stage
from orchestrator.store import jobs, leases, stage_commits
from orchestrator.store.stage_commits import NextJob, StageCommit
from tests.store.heart import Heart, at_once

REVIEW, TESTING, DEVELOPMENT = Stage.REVIEW, Stage.TESTING, Stage.DEVELOPMENT


@pytest.fixture
def heart(engine: Engine) -> Heart:
    return Heart(engine)


def test_a_commit_moves_the_task_ends_its_job_queues_the_next_and_gives_the_lease_back(heart: Heart) -> None:
    task = heart.task(REVIEW)
    with heart.store.transaction() as connection:
        jobs.queue(connection, task, REVIEW, 0, 0, "")
    held = heart.held(task)
    with heart.store.transaction(held.actor) as connection:
        step = StageCommit(REVIEW, 0, TESTING, next_job=NextJob("look closely"))
        assert isinstance(stage_commits.commit_stage_cas(connection, held, step), Committed)
    with heart.store.transaction() as connection:
        rows = connection.exec_driver_sql("SELECT stage, status, visit, evidence FROM jobs ORDER BY id").all()
    assert [tuple(row) for row in rows] == [("review", "finished", 0, ""), ("testing", "queued", 1, "look closely")]
    assert heart.one("SELECT released_at IS NOT NULL FROM transition_lease WHERE task_id = :t", t=task)
    assert heart.one("SELECT actor || ' ' || epoch FROM events WHERE kind = 'stage.committed'") == "monitor 1"


def test_of_four_commits_of_one_decision_one_wins(heart: Heart) -> None:
    task = heart.task(REVIEW)
    held = heart.held(task)
    found = at_once(*[lambda: heart.commit(held, REVIEW, 0, TESTING)] * 4)
    assert sorted(type(one).__name__ for one in found) == ["Committed", "LostRace", "LostRace", "LostRace"]
    assert heart.one("SELECT stage_seq FROM tasks WHERE id = :t", t=task) == 1
    assert heart.one("SELECT value FROM counters WHERE name = 'cas_lost_total'") == 3


def test_a_lost_commit_leaves_job_and_lease_as_they_are(heart: Heart) -> None:
    task = heart.task(REVIEW)
    old = heart.held(task)
    heart.force(task)
    with heart.store.transaction() as connection:
        jobs.queue(connection, task, REVIEW, 0, 0, "")
    successor = heart.held(task)
    assert isinstance(heart.commit(old, REVIEW, 0, TESTING), LostRace)
    assert heart.stage(task) == "review"
    assert heart.one("SELECT status FROM jobs") == "queued"
    with heart.store.transaction() as connection:
        assert leases.holds(connection, successor)
    assert heart.one("SELECT detail->>'epoch' FROM events WHERE kind = 'stage.cas_lost'") == str(old.epoch)


def test_a_decision_of_an_earlier_visit_does_not_commit_in_a_later_one(heart: Heart) -> None:
    task = heart.task(REVIEW)
    decided_at = 0
    heart.commit(heart.held(task), REVIEW, 0, DEVELOPMENT)
    heart.commit(heart.held(task), DEVELOPMENT, 1, REVIEW)
    assert heart.stage(task) == "review"
    # Under a lease of today: only stage_seq tells that this is another visit.
    assert isinstance(heart.commit(heart.held(task), REVIEW, decided_at, TESTING), LostRace)
    assert heart.stage(task) == "review"


def test_an_owner_that_slept_through_another_visit_commits_nothing(heart: Heart) -> None:
    """Stage and wish are the same again; visit and epoch are not, and either of them is enough."""
    task = heart.task(REVIEW)
    sleeper = heart.held(task)
    heart.force(task)
    heart.commit(heart.held(task), REVIEW, 0, DEVELOPMENT)
    heart.commit(heart.held(task), DEVELOPMENT, 1, REVIEW)
    assert isinstance(heart.commit(sleeper, REVIEW, 0, TESTING), LostRace)
    assert heart.stage(task) == "review"


def test_an_owner_whose_lease_was_taken_away_commits_nothing(heart: Heart) -> None:
    task = heart.task(REVIEW)
    zombie = heart.held(task)
    heart.force(task, zombie.epoch)
    assert isinstance(heart.commit(zombie, REVIEW, 0, TESTING), LostRace)
    assert heart.stage(task) == "review"


def test_a_commit_that_waits_behind_a_release_by_force_loses(heart: Heart) -> None:
    task = heart.task(REVIEW)
    held = heart.held(task)
    found = heart.behind(
        lambda connection: leases.force_release(connection, task, why="test", epoch=held.epoch),
        lambda: heart.commit(held, REVIEW, 0, TESTING),
    )
    assert isinstance(found, LostRace)
    assert heart.stage(task) == "review"


@pytest.mark.parametrize("terminal", [Stage.DONE, Stage.CANCELLED])
def test_a_terminal_stage_is_never_left(heart: Heart, terminal: Stage) -> None:
    task = heart.task(terminal)
    with pytest.raises(Exception, match="no edge"):
        heart.commit(heart.held(task), terminal, 0, DEVELOPMENT)
    assert heart.stage(task) == terminal


def test_with_the_lease_off_the_commit_is_a_plain_update_of_the_stage(heart: Heart) -> None:
    task = heart.task(REVIEW)
    inert = replace(heart.held(task, enforced=False), epoch=99)
    assert isinstance(heart.commit(inert, REVIEW, 7, TESTING), Committed)
    assert isinstance(heart.commit(inert, REVIEW, 0, TESTING), LostRace)


def test_two_tasks_that_enter_the_serial_part_at_once_do_not_pass_its_limit(heart: Heart) -> None:
    held = [heart.held(heart.task(Stage.ARCHITECTURE)) for _ in range(2)]
    found = at_once(
        *[lambda one=one: heart.commit(one, Stage.ARCHITECTURE, 0, DEVELOPMENT, serial_limit=1) for one in held]
    )
    assert sorted(type(one).__name__ for one in found) == ["Committed", "LostRace"]
    assert heart.one("SELECT count(*) FROM tasks WHERE stage = 'development'") == 1


def test_the_serial_part_of_one_project_does_not_hold_up_another(heart: Heart) -> None:
    heart.task(Stage.TESTING)
    other = heart.held(heart.task(Stage.ARCHITECTURE, project="E"))
    assert isinstance(heart.commit(other, Stage.ARCHITECTURE, 0, DEVELOPMENT, serial_limit=1), Committed)


def test_terminal_tasks_do_not_fill_the_serial_part(heart: Heart) -> None:
    heart.task(Stage.DONE)
    heart.task(Stage.CANCELLED)
    held = heart.held(heart.task(Stage.ARCHITECTURE))
    assert isinstance(heart.commit(held, Stage.ARCHITECTURE, 0, DEVELOPMENT, serial_limit=1), Committed)
