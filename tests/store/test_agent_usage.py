"""What agent runs used: each part counted once; a provider that refused is tried by one run first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Engine, text

from orchestrator.domain.budgets import Spending
from orchestrator.domain.ownership import Committed, LostRace
from orchestrator.domain.run_reports import RunReport
from orchestrator.domain.runs import Usage
from orchestrator.domain.stages import Stage
from orchestrator.domain.views import Outcome
from orchestrator.store import jobs, provider_pauses, run_reports, spending
from orchestrator.store.jobs import NewRun
from tests.store.heart import Heart, at_once


@pytest.fixture
def heart(engine: Engine) -> Heart:
    return Heart(engine)


def run(heart: Heart, run_id: str, task: int | None = None, project: str = "D") -> int:
    """A run of a task; the task's id."""
    task = task or heart.task(project=project)
    number = heart.one("SELECT count(*) FROM jobs WHERE task_id = :t", t=task)
    with heart.store.transaction() as connection:
        connection.execute(
            text("UPDATE jobs SET status = 'finished', finished_at = now() WHERE task_id = :t"), {"t": task}
        )
        job = jobs.queue(connection, task, Stage.REVIEW, 0, int(str(number)), "")
        new = NewRun(run_id, 0, "claude", "here", f"/runs/{run_id}", "", heart.myself)
        assert isinstance(jobs.begin(connection, job, new), Committed)
        jobs.record_exit(connection, run_id, exit_code=0, signal=None, reason="exited", last_turn=True)
    return task


def report(heart: Heart, run_id: str, usd: str | None, *, tokens: int = 0, session: str | None = None) -> None:
    usage = Usage(tokens, 0, None if usd is None else Decimal(usd))
    told = RunReport(None, session_id=session, usage=usage, usage_of_session=session is not None)
    with heart.store.transaction() as connection:
        run_reports.record_report(connection, run_id, told, Outcome.VERDICT)


def spent(heart: Heart, task: int, project: str = "D") -> Spending:
    with heart.store.transaction() as connection:
        return spending.of_task(connection, task, project)


def test_runs_of_one_session_add_up_to_its_last_total(heart: Heart) -> None:
    task = run(heart, "a")
    report(heart, "a", "0.5", tokens=100, session="s")
    run(heart, "b", task)
    report(heart, "b", "0.8", tokens=150, session="s")
    assert spent(heart, task).item.usd == Decimal("0.8")
    assert spent(heart, task).item.tokens == 150


def test_a_report_that_is_written_twice_counts_once(heart: Heart) -> None:
    task = run(heart, "a")
    for _ in range(2):
        report(heart, "a", "0.5", tokens=100, session="s")
    assert (spent(heart, task).item.usd, spent(heart, task).item.tokens) == (Decimal("0.5"), 100)


def test_runs_without_a_cost_are_unmeasured_and_not_free(heart: Heart) -> None:
    task = run(heart, "a")
    report(heart, "a", None, tokens=7)
    assert (spent(heart, task).item.usd, spent(heart, task).item.unmeasured) == (Decimal(0), 1)


def test_a_day_is_one_of_the_whole_project_and_of_no_other(heart: Heart) -> None:
    one, two, other = run(heart, "a"), run(heart, "b"), run(heart, "c", project="E")
    for run_id in "abc":
        report(heart, run_id, "1")
    assert (spent(heart, one).item.usd, spent(heart, two).day.usd) == (Decimal(1), Decimal(2))
    assert spent(heart, other, "E").day.usd == 1
    heart.run("UPDATE agent_runs SET started_at = now() - interval '25 hours' WHERE run_id = 'a'")
    assert (spent(heart, one).day.usd, spent(heart, one).item.usd) == (Decimal(1), Decimal(1))


# --- providers


def pause(heart: Heart, until: datetime | None = None) -> None:
    with heart.store.transaction() as connection:
        provider_pauses.pause(connection, "claude", until, "weekly limit", 900)


def take_try(heart: Heart, task: int) -> Committed | LostRace:
    with heart.store.transaction() as connection:
        return provider_pauses.take_try(connection, "claude", task)


def resume(heart: Heart, run_id: str) -> bool:
    with heart.store.transaction() as connection:
        return provider_pauses.resume(connection, "claude", run_id)


def over(heart: Heart) -> None:
    heart.run("UPDATE provider_pauses SET until = now() - interval '1 second'")


def test_of_all_that_waited_one_run_tries_first(heart: Heart) -> None:
    pause(heart)
    over(heart)
    tried = at_once(lambda: take_try(heart, 1), lambda: take_try(heart, 2))
    assert sorted(type(one).__name__ for one in tried) == ["Committed", "LostRace"]


def test_nobody_tries_before_the_reset(heart: Heart) -> None:
    pause(heart, datetime.now(UTC) + timedelta(hours=1))
    assert isinstance(take_try(heart, 1), LostRace)


def test_where_nothing_is_paused_everybody_may_start(heart: Heart) -> None:
    assert isinstance(take_try(heart, 1), Committed)
    assert isinstance(take_try(heart, 2), Committed)


def test_a_run_that_was_served_lets_the_others_go(heart: Heart) -> None:
    pause(heart)
    over(heart)
    task = heart.task()
    assert isinstance(take_try(heart, task), Committed)
    run(heart, "a", task)
    assert resume(heart, "a")
    assert isinstance(take_try(heart, 99), Committed)


def test_a_run_that_began_before_the_refusal_proves_nothing(heart: Heart) -> None:
    run(heart, "a")
    pause(heart)
    assert not resume(heart, "a")


def test_a_try_that_told_nothing_is_given_to_another(heart: Heart) -> None:
    pause(heart)
    over(heart)
    take_try(heart, 1)
    with heart.store.transaction() as connection:
        provider_pauses.give_back_try(connection, "claude", 1)
    assert isinstance(take_try(heart, 2), Committed)


def test_each_refusal_without_a_reset_waits_twice_as_long(heart: Heart) -> None:
    waits = []
    for _ in range(3):
        pause(heart)
        waits.append(float(str(heart.one("SELECT extract(epoch FROM until - now()) FROM provider_pauses"))))
        over(heart)
    assert [round(one / 900) for one in waits] == [1, 2, 4]


def test_a_second_refusal_never_shortens_a_pause(heart: Heart) -> None:
    pause(heart, datetime.now(UTC) + timedelta(days=2))
    pause(heart)
    assert float(str(heart.one("SELECT extract(epoch FROM until - now()) FROM provider_pauses"))) > 86400
