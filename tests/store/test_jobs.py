"""Jobs: begun once, ended once, and a late word changes nothing."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from orchestrator.domain.ownership import Committed, LostRace, Owner
from orchestrator.domain.stages import Stage
from orchestrator.domain.views import JobStatus, Outcome
from orchestrator.store import jobs, tasks
from orchestrator.store.jobs import NewRun, Settlement
from tests.store.heart import Heart, at_once

LOST, KILLED = Outcome.LOST, Outcome.KILLED
WON, BEATEN = "Committed", "LostRace"


@pytest.fixture
def heart(engine: Engine) -> Heart:
    return Heart(engine)


def queued(heart: Heart, task: int | None = None) -> int:
    with heart.store.transaction() as connection:
        return jobs.queue(connection, task or heart.task(), Stage.REVIEW, 0, 0, "")


def run_of(heart: Heart, run_id: str, turn: int = 0) -> NewRun:
    return NewRun(run_id, turn, "command", "here", f"/runs/{run_id}", "", heart.myself)


def begin(heart: Heart, job: int, run_id: str = "r1") -> object:
    with heart.store.transaction() as connection:
        return jobs.begin(connection, job, run_of(heart, run_id))


def flip(heart: Heart, job: int, status: JobStatus = JobStatus.LOST, outcome: Outcome = LOST) -> object:
    with heart.store.transaction("reaper") as connection:
        return jobs.flip(connection, job, status, outcome, "seen dead", counted=False)


def settle(heart: Heart, job: int, head: str | None = "abc") -> object:
    with heart.store.transaction() as connection:
        return jobs.settle(connection, job, Settlement(Outcome.VERDICT, {"verdict": "pass"}, head))


def status(heart: Heart, job: int) -> object:
    return heart.one("SELECT status || ' ' || coalesce(outcome, '-') FROM jobs WHERE id = :j", j=job)


def names(found: list[object]) -> list[str]:
    return sorted(type(one).__name__ for one in found)


def test_of_two_launchers_one_begins_the_job_and_one_run_is_written(heart: Heart) -> None:
    job = queued(heart)
    assert names(at_once(lambda: begin(heart, job, "a"), lambda: begin(heart, job, "b"))) == [WON, BEATEN]
    assert heart.one("SELECT count(*) FROM agent_runs") == 1


def test_a_job_of_a_stopped_task_does_not_begin(heart: Heart) -> None:
    task = heart.task()
    job = queued(heart, task)
    heart.run("UPDATE tasks SET stop_requested_at = now(), stop_requested_by = 'ann' WHERE id = :t", t=task)
    assert isinstance(begin(heart, job), LostRace)


def test_a_stop_request_cancels_the_queued_job_and_it_never_begins(heart: Heart) -> None:
    task = heart.task()
    job = queued(heart, task)
    with heart.store.transaction() as connection:
        tasks.request_stop(connection, task, "ann")
    assert status(heart, job) == "cancelled stopped"
    assert isinstance(begin(heart, job), LostRace)


def test_a_second_live_job_of_a_task_is_refused_by_the_schema(heart: Heart) -> None:
    task = heart.task()
    queued(heart, task)
    with pytest.raises(Exception, match="live_job"), heart.store.transaction() as connection:
        jobs.queue(connection, task, Stage.REVIEW, 0, 1, "")


def test_of_two_reapers_one_ends_the_job(heart: Heart) -> None:
    job = queued(heart)
    begin(heart, job)
    found = at_once(
        lambda: flip(heart, job, JobStatus.LOST, LOST), lambda: flip(heart, job, JobStatus.FINISHED, KILLED)
    )
    assert names(found) == [WON, BEATEN]


def test_a_verdict_after_the_job_was_reaped_changes_nothing(heart: Heart) -> None:
    job = queued(heart)
    begin(heart, job)
    flip(heart, job)
    assert isinstance(settle(heart, job), LostRace)
    assert status(heart, job) == "lost lost"
    assert heart.one("SELECT head_sha FROM tasks") is None


def test_a_verdict_is_recorded_once_and_its_head_is_the_tasks(heart: Heart) -> None:
    job = queued(heart)
    begin(heart, job)
    assert names(at_once(lambda: settle(heart, job, "abc"), lambda: settle(heart, job, "abc"))) == [WON, BEATEN]
    assert heart.one("SELECT head_sha FROM tasks") == "abc"
    assert status(heart, job) == "running verdict"


def test_the_flip_of_a_settled_job_keeps_its_outcome(heart: Heart) -> None:
    job = queued(heart)
    begin(heart, job)
    settle(heart, job)
    flip(heart, job, JobStatus.FINISHED, KILLED)
    assert status(heart, job) == "finished verdict"


def test_an_exit_is_recorded_once(heart: Heart) -> None:
    begin(heart, queued(heart))

    def exit_once(code: int) -> object:
        with heart.store.transaction() as connection:
            return jobs.record_exit(connection, "r1", exit_code=code, signal=None, reason="exited", last_turn=True)

    assert isinstance(exit_once(3), Committed)
    assert isinstance(exit_once(0), LostRace)
    assert heart.one("SELECT exit_code FROM jobs") == 3


def test_a_repair_turn_takes_the_exit_back_and_is_begun_once(heart: Heart) -> None:
    job = queued(heart)
    begin(heart, job)
    with heart.store.transaction() as connection:
        jobs.record_exit(connection, "r1", exit_code=0, signal=None, reason="exited", last_turn=True)

    def repair(run_id: str) -> object:
        with heart.store.transaction() as connection:
            return jobs.begin_repair(connection, job, run_of(heart, run_id, turn=1))

    assert names(at_once(lambda: repair("r2"), lambda: repair("r3"))) == [WON, BEATEN]
    assert heart.one("SELECT exited_at IS NULL FROM jobs")


def test_dead_sweeps_count_only_in_a_row(heart: Heart) -> None:
    job = queued(heart)
    with heart.store.transaction() as connection:
        counts = [jobs.count_dead_tick(connection, job, dead=dead) for dead in (True, True, False, True)]
    assert counts == [1, 2, 0, 1]


def test_the_shims_identity_is_written_once(heart: Heart) -> None:
    job = queued(heart)
    begin(heart, job)
    with heart.store.transaction() as connection:
        assert isinstance(jobs.adopt_run(connection, "r1", heart.myself), Committed)
        assert isinstance(jobs.adopt_run(connection, "r1", Owner("x", "y", 1, 2, 3)), LostRace)
        run = jobs.newest_run(connection, job)
    assert run is not None and run.owner == heart.myself
