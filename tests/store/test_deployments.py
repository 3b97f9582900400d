"""Deployment rows: asked for once, won once, ended once, or never."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from functools import partial

import pytest
from sqlalchemy import Engine, text

from orchestrator.domain.ownership import Committed, LostRace, Owner
from orchestrator.domain.views import DeploymentStatus
from orchestrator.store import deployments
from orchestrator.store.database import Store
from orchestrator.store.deployments import OCCUPIED, ROLL_BACK, Deployment

SUCCEEDED, FAILED, ROLLED_BACK = DeploymentStatus.SUCCEEDED, DeploymentStatus.FAILED, DeploymentStatus.ROLLED_BACK


def owner(pid: int = 10) -> Owner:
    return Owner("node", "boot", 1, pid, 100)


class Rows:
    """Short transactions on the tables, each of its own."""

    def __init__(self, engine: Engine) -> None:
        self.store = Store(engine)
        self.items = 0

    def task(self) -> int:
        self.items += 1
        statement = text(
            "INSERT INTO tasks (work_item, project, title, branch) VALUES (:i, 'D', 't', 'b') RETURNING id"
        )
        with self.store.transaction() as connection:
            return int(connection.execute(statement, {"i": f"D-{self.items}"}).scalar_one())

    def request(
        self, sha: str = "a", environment: str = "staging", *, task: int | None = None, kind: str = "deploy"
    ) -> Deployment:
        task_id = task or self.task()
        with self.store.transaction() as connection:
            return deployments.request(
                connection, task_id=task_id, visit=5, project="D", environment=environment, sha=sha, kind=kind
            )

    def tombstone(self, task: int) -> Deployment:
        with self.store.transaction() as connection:
            return deployments.tombstone(connection, task_id=task, visit=5, project="D", environment="staging", sha="a")

    def win(self, row: Deployment, by: Owner | None = None) -> Committed | LostRace:
        with self.store.transaction() as connection:
            return deployments.win_running(connection, row.id, by or owner())

    def finish(
        self, row: Deployment, status: DeploymentStatus = SUCCEEDED, by: Owner | None = None
    ) -> Committed | LostRace:
        with self.store.transaction() as connection:
            return deployments.finish(connection, row.id, by, status, row.sha, "as it went")

    def revoke(self, row: Deployment) -> Committed | LostRace:
        with self.store.transaction() as connection:
            return deployments.revoke(connection, row.id)

    def get(self, row: Deployment) -> Deployment:
        with self.store.transaction() as connection:
            found = deployments.get(connection, row.id)
        assert found is not None
        return found

    def landed(self, sha: str, environment: str = "staging") -> Deployment:
        row = self.request(sha, environment)
        assert self.win(row) == Committed()
        assert self.finish(row) == Committed()
        return self.get(row)

    def last(self, environment: str = "staging") -> Deployment | None:
        with self.store.transaction() as connection:
            return deployments.last_succeeded(connection, "D", environment)

    def facts_at(self, row: Deployment) -> datetime:
        with self.store.transaction() as connection:
            statement = text("SELECT facts_at FROM tasks WHERE id = :t")
            found: datetime = connection.execute(statement, {"t": row.task_id}).scalar_one()
        return found


@pytest.fixture
def rows(engine: Engine) -> Rows:
    return Rows(engine)


def at_once(*calls: Callable[[], object]) -> list[object]:
    """What the calls give when they start together."""
    barrier, given = threading.Barrier(len(calls)), list[object](calls)

    def run(number: int, call: Callable[[], object]) -> None:
        barrier.wait()
        given[number] = call()

    threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return given


def test_a_deployment_is_asked_for_once_a_visit_environment_and_kind(rows: Rows) -> None:
    first = rows.request("a")
    again = rows.request("b", task=first.task_id)
    assert (again.id, again.sha) == (first.id, "a")
    assert rows.request("a", "production", task=first.task_id).id != first.id
    assert rows.request("a", task=first.task_id, kind=ROLL_BACK).id != first.id


def test_a_deployment_tells_its_work_item_and_that_nobody_has_it(rows: Rows) -> None:
    row = rows.request("a")
    assert (row.work_item, row.status, row.owner, row.launched_at) == ("D-1", DeploymentStatus.REQUESTED, None, None)


def test_a_request_names_what_the_environment_had_before(rows: Rows) -> None:
    assert rows.request("a", "production").previous_sha is None
    rows.landed("a")
    rows.landed("b")
    assert rows.request("c").previous_sha == "b"


def test_what_the_environment_had_before_is_read_again_when_the_row_is_won(rows: Rows) -> None:
    first, second = rows.request("a"), rows.request("b")
    rows.win(first)
    rows.finish(first)
    assert rows.win(second) == Committed()
    assert (second.previous_sha, rows.get(second).previous_sha) == (None, "a")


def test_a_failed_deployment_is_not_what_the_environment_has(rows: Rows) -> None:
    good, bad = rows.landed("a"), rows.request("b")
    rows.win(bad)
    rows.finish(bad, FAILED)
    last = rows.last()
    assert last is not None
    assert last.id == good.id


def test_a_roll_back_that_landed_is_what_the_environment_has(rows: Rows) -> None:
    rows.landed("a")
    rows.landed("b")
    back = rows.request("a", kind=ROLL_BACK)
    rows.win(back)
    rows.finish(back, back.status_when_landed)
    row = rows.get(back)
    assert (row.status, row.landed) == (ROLLED_BACK, True)
    last = rows.last()
    assert last is not None
    assert (last.sha, last.kind) == ("a", ROLL_BACK)


def test_of_eight_deployers_of_one_row_one_wins(rows: Rows) -> None:
    row = rows.request()
    results = at_once(*(partial(rows.win, row, owner(pid)) for pid in range(1, 9)))
    assert results.count(Committed()) == 1
    winner = rows.get(row).owner
    assert winner is not None
    assert results[winner.pid - 1] == Committed()


def test_one_deployment_runs_in_an_environment(rows: Rows) -> None:
    first, second = rows.request("a"), rows.request("b")
    assert rows.win(first) == Committed()
    assert rows.win(second) == LostRace(OCCUPIED)
    assert rows.get(second).status is DeploymentStatus.REQUESTED
    rows.finish(first)
    assert rows.win(second) == Committed()


def test_two_environments_run_at_once(rows: Rows) -> None:
    staging, production = rows.request("a"), rows.request("a", "production")
    assert at_once(lambda: rows.win(staging), lambda: rows.win(production)) == [Committed(), Committed()]


def test_an_older_version_never_follows_a_newer_one(rows: Rows) -> None:
    older, newer = rows.request("a"), rows.request("b")
    assert rows.win(newer) == LostRace(OCCUPIED)
    assert rows.win(older) == Committed()


def test_a_roll_back_comes_before_what_waits(rows: Rows) -> None:
    waiting, back = rows.request("b"), rows.request("a", kind=ROLL_BACK)
    assert rows.win(waiting) == LostRace(OCCUPIED)
    assert rows.win(back) == Committed()


def test_a_revoked_row_cannot_be_won(rows: Rows) -> None:
    row = rows.request()
    assert rows.revoke(row) == Committed()
    assert rows.win(row) == LostRace("the deployment is revoked already")
    assert rows.request("a", task=row.task_id).status is DeploymentStatus.REVOKED


def test_a_running_one_cannot_be_revoked(rows: Rows) -> None:
    row = rows.request()
    rows.win(row)
    assert isinstance(rows.revoke(row), LostRace)
    assert rows.get(row).status is DeploymentStatus.RUNNING


def test_of_a_winner_and_a_revoker_exactly_one_is_served(rows: Rows) -> None:
    for _ in range(10):
        row = rows.request()
        won, revoked = at_once(partial(rows.win, row), partial(rows.revoke, row))
        assert [won, revoked].count(Committed()) == 1
        status = DeploymentStatus.RUNNING if won == Committed() else DeploymentStatus.REVOKED
        assert rows.get(row).status is status
        rows.finish(row)


def test_a_tombstone_bars_a_request_that_comes_later(rows: Rows) -> None:
    task = rows.task()
    tombstone = rows.tombstone(task)
    late = rows.request("a", task=task)
    assert (late.id, late.status) == (tombstone.id, DeploymentStatus.REVOKED)
    assert isinstance(rows.win(late), LostRace)


def test_a_tombstone_takes_a_request_back_but_not_a_running_one(rows: Rows) -> None:
    waiting = rows.request("a")
    assert rows.tombstone(waiting.task_id).status is DeploymentStatus.REVOKED
    running = rows.request("b")
    rows.win(running)
    assert rows.tombstone(running.task_id).status is DeploymentStatus.RUNNING


def test_a_deployment_ends_once(rows: Rows) -> None:
    row = rows.request()
    rows.win(row)
    results = at_once(lambda: rows.finish(row, SUCCEEDED), lambda: rows.finish(row, FAILED))
    assert results.count(Committed()) == 1
    assert isinstance(rows.finish(row), LostRace)


def test_a_row_that_does_not_run_cannot_end(rows: Rows) -> None:
    row = rows.request()
    assert isinstance(rows.finish(row), LostRace)
    assert rows.get(row).status is DeploymentStatus.REQUESTED


def test_only_the_deployer_that_the_row_names_may_end_it(rows: Rows) -> None:
    row = rows.request()
    rows.win(row, owner(10))
    assert isinstance(rows.finish(row, by=owner(11)), LostRace)
    assert rows.finish(row, by=owner(10)) == Committed()


def test_the_end_makes_the_task_look_again_and_a_lost_race_does_not(rows: Rows) -> None:
    row = rows.request()
    rows.win(row)
    before = rows.facts_at(row)
    rows.finish(row)
    ended = rows.facts_at(row)
    assert ended > before
    rows.finish(row)
    assert rows.facts_at(row) == ended


def test_the_end_keeps_what_was_seen(rows: Rows) -> None:
    row = rows.landed("a")
    assert (row.observed_sha, row.detail) == ("a", "as it went")
    assert row.finished_at is not None
    assert row.started_at is not None


def test_text_that_the_database_refuses_does_not_lose_the_end(rows: Rows) -> None:
    row = rows.request()
    rows.win(row)
    with rows.store.transaction() as connection:
        done = deployments.finish(connection, row.id, None, FAILED, "v\0\udc80", "said \0\udc80")
    assert done == Committed()


def test_unfinished_ones_come_in_the_order_in_which_they_may_run(rows: Rows) -> None:
    rows.landed("x")
    rows.revoke(rows.request("y"))
    waiting, running, back = rows.request("b", "qa"), rows.request("a"), rows.request("a", kind=ROLL_BACK)
    with rows.store.transaction() as connection:
        deployments.mark_launched(connection, waiting.id)
    rows.revoke(back)
    rows.win(running)
    back = rows.request("a", kind=ROLL_BACK)
    with rows.store.transaction() as connection:
        found = deployments.unfinished(connection)
    assert [row.id for row in found] == [running.id, back.id, waiting.id]
    assert found[2].launched_at is not None
    assert found[2].launched_at <= found[2].read_at


def test_a_launch_is_noted_and_taken_back_while_the_row_is_requested(rows: Rows) -> None:
    row = rows.request()
    with rows.store.transaction() as connection:
        assert deployments.mark_launched(connection, row.id) == Committed()
        assert deployments.mark_not_launched(connection, row.id) == Committed()
    assert rows.get(row).launched_at is None
    rows.win(row)
    with rows.store.transaction() as connection:
        assert isinstance(deployments.mark_launched(connection, row.id), LostRace)


def test_a_task_shows_all_that_it_asked_for(rows: Rows) -> None:
    first = rows.request("a")
    second = rows.request("a", "production", task=first.task_id)
    rows.request("b")
    with rows.store.transaction() as connection:
        assert [row.id for row in deployments.for_task(connection, first.task_id)] == [first.id, second.id]


def test_a_successor_is_of_another_task_and_began_after_the_end(rows: Rows) -> None:
    first = rows.landed("a")

    def found() -> int | None:
        with rows.store.transaction() as connection:
            row = deployments.successor(connection, first.id)
        return None if row is None else row.id

    rows.landed("p", "production")
    again = rows.request("b", task=first.task_id, kind=ROLL_BACK)
    assert rows.win(again) == Committed()
    assert rows.finish(again, ROLLED_BACK) == Committed()
    waiting = rows.request("c")
    assert found() is None
    assert rows.win(waiting) == Committed()
    assert found() == waiting.id
