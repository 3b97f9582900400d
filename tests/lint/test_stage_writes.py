"""ORC001."""

from __future__ import annotations

import pytest

from tests.lint.judging import codes, messages

WRITES = [
    "text(\"UPDATE tasks SET stage = 'done' WHERE id = :id\")",
    'text("update tasks set stage_seq = stage_seq + 1, stage = :to where id = :id and stage = :expected")',
    'text("""\n    UPDATE public.tasks AS t\n       SET updated_at = now(),\n           stage = :to\n """)',
    'text("UPDATE ONLY tasks SET (stage, stage_seq) = (:a, :b)")',
    'text(f"UPDATE {SCHEMA}.tasks SET stage = {VALUE}")',
    "update(schema.tasks).where(schema.tasks.c.id == 1).values(stage='done')",
    "sa.update(tasks).values({'stage': 'done'})",
    "update(tasks).values({tasks.c.stage: 'done'})",
    "tasks.update().values(stage='done')",
    "update(tasks).values(**fields)",
    "text(\"WITH moved AS (SELECT 1) UPDATE tasks SET stage = 'done' RETURNING id\")",
]
READS = [
    'text("UPDATE tasks SET parked_reason = :r WHERE id = :id AND stage = :stage")',
    'text("UPDATE jobs SET stage = :s")',
    'text("UPDATE tasks SET stage_entered = now() WHERE id = :id")',
    'text("SELECT stage FROM tasks WHERE stage = :stage FOR UPDATE")',
    "update(tasks).where(tasks.c.stage == 'review').values(parked=True)",
    "update(jobs).values(stage='done')",
    '"""UPDATE tasks SET stage = :to is what commit_stage_cas says."""',
]


@pytest.mark.parametrize("code", WRITES)
def test_a_write_of_the_stage_is_found_outside_the_stage_commit(code: str) -> None:
    assert codes("orchestrator/store/tasks.py", code) == ["ORC001"]


@pytest.mark.parametrize("code", WRITES)
def test_the_stage_commit_may_write_the_stage(code: str) -> None:
    assert codes("orchestrator/store/stage_commits.py", code) == []


@pytest.mark.parametrize("code", READS)
def test_reading_the_stage_and_writing_other_columns_passes(code: str) -> None:
    assert codes("orchestrator/store/jobs.py", code) == []


@pytest.mark.parametrize(
    "code",
    [
        "insert(tasks).values(stage='analysis')",
        "tasks.insert().values(item=1)",
        'text("INSERT INTO tasks (item) VALUES (1)")',
    ],
)
def test_only_the_start_of_a_task_inserts_its_row(code: str) -> None:
    assert codes("orchestrator/engine/intake.py", code) == ["ORC001"]
    assert codes("orchestrator/store/tasks.py", code) == []


def test_an_insert_that_moves_an_existing_row_is_a_write_of_the_stage() -> None:
    statement = 'text("INSERT INTO tasks (id, stage) VALUES (1, 2) ON CONFLICT DO UPDATE SET stage = :s")'
    assert codes("orchestrator/store/tasks.py", statement) == ["ORC001"]


def test_the_message_names_place_and_remedy() -> None:
    (message,) = messages("web/api.py", "x = 1\ntext('UPDATE tasks SET stage = 1')")
    assert message.startswith("web/api.py:2:6: ORC001")
    assert "commit_stage_cas" in message
