"""`orch deploy rollback` end to end: a person asks, the finalizer starts a deployer, the version before answers."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import exits
from orchestrator.domain.errors import LostRaceError, UsageError
from orchestrator.domain.stages import Stage
from orchestrator.engine import deploy_acts
from tests.acceptance.scene import deploying_world, end_services
from tests.engine.real_engine import World
from tests.engine.staged import ROOT, Drives, staged

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def drives(tmp_path: Path) -> Iterator[Drives]:
    drives = Drives({})
    yield drives
    drives.end()
    end_services(tmp_path)


def deployed(world: World, tmp_path: Path, key: str) -> str:
    """An item to production; the version that answers then."""
    task = staged(world, tmp_path, Stage.DEPLOY_STAGING, key=key)
    world.run_until(lambda: world.stage(task.work_item) == "done", timeout_s=90)
    return world.git("rev-parse", "main")


def answers(world: World) -> str:
    ports = world.engine.project("DEMO")
    spec = ports.repository.at(ports.workspaces.base_tip()).deploys["production"]
    with urllib.request.urlopen(spec.health_url, timeout=10) as answer:
        return str(json.load(answer)["version"])


def orch(world: World, *arguments: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-c", "from orchestrator.cli import main; main()", *arguments]
    environment = {**world.environment, "PYTHONPATH": str(ROOT), "ORCH_BROKER_URL": "redis://127.0.0.1:1/0"}
    return subprocess.Popen(
        program, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_person_puts_the_version_before_back_and_it_answers(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world = deploying_world(tmp_path, database_url, drives)
    first, second = deployed(world, tmp_path, "DEMO-1"), deployed(world, tmp_path, "DEMO-2")
    assert (answers(world), first == second) == (second, False)

    asked = orch(world, "deploy", "rollback", "DEMO", "production", "--yes", "--wait", "2m", "--json")
    drives.started.append(asked)
    world.run_until(lambda: asked.poll() is not None, timeout_s=120)
    out, err = asked.communicate()
    assert asked.returncode == exits.DONE, err
    assert (json.loads(out)["sha"], json.loads(out)["status"]) == (first, "rolled_back")
    assert answers(world) == first
    assert world.rows("SELECT kind, status, observed_sha FROM deployments ORDER BY id")[-1] == (
        "roll_back",
        "rolled_back",
        first,
    )
    [(by,)] = world.rows("SELECT detail->>'by' FROM events WHERE kind = 'deploy.roll_back_requested'")
    assert "@" in by
    assert world.git("rev-parse", "main") == second, "git stays as it is"
    assert [world.stage(item) for item in ("DEMO-1", "DEMO-2")] == ["done", "done"]

    with pytest.raises(UsageError):
        deploy_acts.roll_back(world.engine, deploy_acts.plan_roll_back(world.engine, "DEMO", "production"), "ben")
    assert len(world.rows("SELECT 1 FROM deployments")) == 3


def test_a_roll_back_of_what_is_no_longer_there_changes_nothing(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world = deploying_world(tmp_path, database_url, drives)
    deployed(world, tmp_path, "DEMO-1")
    second = deployed(world, tmp_path, "DEMO-2")
    wish = deploy_acts.plan_roll_back(world.engine, "DEMO", "production")
    third = deployed(world, tmp_path, "DEMO-3")
    assert wish.current.sha == second
    with pytest.raises(LostRaceError):
        deploy_acts.roll_back(world.engine, wish, "ann")
    assert answers(world) == third
    assert world.rows("SELECT 1 FROM deployments WHERE kind = 'roll_back'") == []
