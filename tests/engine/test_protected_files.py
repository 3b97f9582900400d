"""What gates and deploys are configured by is not changed by anybody's agent: reviewers and testers commit as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.stages import Actor, Stage
from orchestrator.engine.drive import drive
from tests.engine.real_engine import make_world
from tests.engine.staged import staged


@pytest.mark.parametrize("stage", [Stage.DEVELOPMENT, Stage.TESTING, Stage.DEPLOY_STAGING])
def test_a_protected_file_that_is_changed_by_then_does_not_go_on(
    tmp_path: Path, database_url: str, stage: Stage
) -> None:
    world = make_world(tmp_path, database_url, 'test: ["true"]\n')
    task = staged(world, tmp_path, stage, files={"Dockerfile": "FROM mine\n"})
    drive(world.engine, task.task_id, Actor.MONITOR)
    [said] = world.rows("SELECT outcome, evidence FROM gate_results WHERE gate = 'check_scope' ORDER BY id LIMIT 1")
    assert said[0] == "fail"
    assert "Dockerfile" in said[1]
    assert world.stage(task.work_item) == "development"
    world.engine.store.engine.dispose()
