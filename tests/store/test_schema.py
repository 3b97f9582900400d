"""The schema refuses what must never be stored."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError


def _task(engine: Engine, item: str = "DEMO-1") -> int:
    with engine.begin() as connection:
        return int(
            connection.execute(
                text(
                    "INSERT INTO tasks (work_item, project, title, branch) VALUES (:i, 'DEMO', 't', 'b') RETURNING id"
                ),
                {"i": item},
            ).scalar_one()
        )


def _refused(engine: Engine, statement: str, constraint: str) -> None:
    with pytest.raises(IntegrityError) as caught, engine.begin() as connection:
        connection.execute(text(statement))
    assert isinstance(caught.value.orig, psycopg.Error)
    assert caught.value.orig.diag.constraint_name == constraint


def test_a_work_item_has_one_live_task(engine: Engine) -> None:
    _task(engine)
    _refused(
        engine,
        "INSERT INTO tasks (work_item, project, title, branch) VALUES ('DEMO-1', 'DEMO', 't', 'b')",
        "one_live_task_a_work_item",
    )


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("stage = 'deploy', stage_seq = 1", "a_stage_commit_follows_an_edge"),
        ("stage = 'architecture', stage_seq = 2", "a_stage_commit_raises_stage_seq_by_one"),
        ("stage = 'architecture'", "a_stage_commit_raises_stage_seq_by_one"),
        ("stage_seq = 1", "stage_seq_moves_only_with_the_stage"),
        ("lease_epoch = -1", "the_epoch_never_falls"),
    ],
)
def test_a_stage_moves_only_along_an_edge(engine: Engine, change: str, constraint: str) -> None:
    _task(engine)
    _refused(engine, f"UPDATE tasks SET {change}", constraint)


def test_a_terminal_stage_is_never_left(engine: Engine) -> None:
    _task(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE tasks SET stage = 'cancelled', stage_seq = 1"))
    _refused(engine, "UPDATE tasks SET stage = 'analysis', stage_seq = 2", "a_stage_commit_follows_an_edge")


def test_a_task_has_one_live_job(engine: Engine) -> None:
    task = _task(engine)
    job = "INSERT INTO jobs (task_id, stage, visit, round) VALUES ({}, 'analysis', 0, {})"
    with engine.begin() as connection:
        connection.execute(text(job.format(task, 0)))
    _refused(engine, job.format(task, 1), "one_live_job_a_task")


def test_an_owner_is_named_completely_or_not_at_all(engine: Engine) -> None:
    task = _task(engine)
    _refused(
        engine,
        "INSERT INTO transition_lease (task_id, actor, epoch, owner_node, owner_pid) "
        f"VALUES ({task}, 'operator', 1, 'n', 2)",
        "lease_owner_is_complete_or_absent",
    )


def test_a_coverage_baseline_never_falls(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO coverage_baselines (project, base_branch, line_rate, sha) VALUES ('D', 'main', 0.8, 's')")
        )
    _refused(engine, "UPDATE coverage_baselines SET line_rate = 0.7", "a_coverage_baseline_never_falls")


def test_every_status_change_leaves_a_trace(engine: Engine) -> None:
    task = _task(engine)
    with engine.begin() as connection:
        connection.execute(text("SELECT set_config('orch.actor', 'operator:ann', true)"))
        connection.execute(text("UPDATE tasks SET stage = 'architecture', stage_seq = 1"))
        connection.execute(
            text(f"INSERT INTO jobs (task_id, stage, visit, round) VALUES ({task}, 'architecture', 1, 0)")
        )
        connection.execute(text("UPDATE jobs SET status = 'lost', finished_at = now()"))
        rows = connection.execute(text("SELECT kind, actor FROM events ORDER BY id")).all()
    assert [row.kind for row in rows] == ["task.created", "stage.committed", "job.queued", "job.lost"]
    assert rows[1].actor == "operator:ann"
