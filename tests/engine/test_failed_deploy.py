"""After a production deploy that failed: the version before is back, and the lane is closed to all but the mend."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.domain.stages import Stage
from orchestrator.engine import operator
from orchestrator.engine.finalizer import finalize_deploys, finalizer_parts
from orchestrator.store import read_models
from tests.acceptance.scene import BAD, deploying_world, driven, end_services
from tests.engine.real_engine import World, git
from tests.engine.staged import Drives, Staged, brought_to, staged
from tests.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
FIX_FORWARD, PARK = "fix-forward", "park"
CLOSED = "SELECT scope, reason FROM switches WHERE name = 'lane'"


@pytest.fixture
def drives(tmp_path: Path) -> Iterator[Drives]:
    drives = Drives({})
    yield drives
    drives.end()
    end_services(tmp_path)


def with_policy(world: World, tmp_path: Path, policy: str) -> World:
    config = tmp_path / "orchestrator.yml"
    config.write_text(config.read_text() + f"    on_deploy_failure: {policy}\n")
    return world


def answers(world: World) -> str:
    ports = world.engine.project("DEMO")
    spec = ports.repository.at(ports.workspaces.base_tip()).deploys["production"]
    with urllib.request.urlopen(spec.health_url, timeout=10) as answer:
        return str(answer.read())


def failed(world: World, tmp_path: Path) -> tuple[str, Staged]:
    """The version that was good, and the item whose deploy failed and was put back."""
    first = staged(world, tmp_path, Stage.DEPLOY_STAGING, key="DEMO-1")
    world.run_until(lambda: world.stage(first.work_item) == "done", timeout_s=90)
    good = world.git("rev-parse", "main")
    bad = staged(world, tmp_path, Stage.DEPLOY_STAGING, key="DEMO-2", files={BAD: "it does not come up\n"})
    put_back = "SELECT 1 FROM deployments WHERE kind = 'roll_back' AND status = 'rolled_back'"
    until(lambda: _repaired(world, bad) and world.rows(put_back), timeout_s=90)
    return good, bad


def _repaired(world: World, bad: Staged) -> bool:
    """One look at the item and at its deploys, and no agent is started."""
    driven(world, bad.task_id)
    return _looked_after(world)


def _looked_after(world: World) -> bool:
    """One look at the deploys, and nobody drives the item on."""
    finalize_deploys(finalizer_parts(world.engine))
    world.nudges.held.clear()
    return True


def _dies_at(world: World, drives: Drives, bad: Staged, point: str) -> bool:
    """Drive the item once, in a process that dies at ``point``: however fast its deploy fails, nobody else goes back.

    Says whether it has died there with its claim open."""
    drives.start("drive", bad.task_id, "monitor", 1, failpoints=f"{point}=kill").communicate(timeout=90)
    _looked_after(world)
    claimed = "SELECT 1 FROM effects WHERE task_id = %s AND kind = %s AND status = 'claimed'"
    return bool(world.rows(claimed, bad.task_id, point.split(".")[1]))


def mend(world: World, tmp_path: Path) -> Staged:
    """What the agent would do on the new branch: the bad file is gone, and every stage up to the merge has passed."""
    [(task_id, branch)] = world.rows("SELECT id, branch FROM tasks WHERE work_item = 'DEMO-2'")
    clone = tmp_path / "mending"
    git(tmp_path, "clone", "-q", str(world.repository), str(clone))
    git(clone, "checkout", "-q", "-b", branch)
    git(clone, "rm", "-q", BAD)
    git(clone, "commit", "-q", "-m", "Take it back")
    git(clone, "push", "-q", "origin", branch)
    return brought_to(world, int(task_id), "DEMO-2", git(clone, "rev-parse", "HEAD"), Stage.DEPLOY_STAGING)


def test_after_a_failed_deploy_the_mend_alone_passes_the_lane_and_opens_it(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world = with_policy(deploying_world(tmp_path, database_url, drives), tmp_path, FIX_FORWARD)
    good, _ = failed(world, tmp_path)
    assert good in answers(world)
    other = staged(world, tmp_path, Stage.DEPLOY_STAGING, key="DEMO-3")
    [(scope, reason)] = world.rows(CLOSED)
    assert scope == "DEMO/main:DEMO-2"
    assert reason.startswith("check_deploy_observed failed")
    world.change("UPDATE jobs SET status = 'cancelled', finished_at = now() WHERE status = 'queued'")
    assert driven(world, other.task_id) == "waiting"
    with world.engine.store.transaction() as connection:
        page = read_models.item(connection, "DEMO-3")
        levers = read_models.queue(connection)["switches"]
    assert page is not None and "the production deploy of DEMO-2 failed" in page.row.reasons[0]
    assert "DEMO/main:DEMO-2" in str(levers)
    fix = mend(world, tmp_path)
    world.nudges.held.clear()
    driven(world, fix.task_id)
    assert world.stage("DEMO-2") == "deploy"
    assert world.rows(CLOSED) == []
    assert ("drive", (other.task_id, "monitor")) in world.nudges.held
    world.run_until(lambda: (world.stage("DEMO-2"), world.stage("DEMO-3")) == ("done", "done"), timeout_s=90)
    assert world.git("rev-parse", "main") in answers(world)


@pytest.mark.parametrize("point", ["effect.roll_back_deploy.claimed", "effect.delete_branch.claimed"])
def test_the_way_back_of_an_owner_that_died_on_it_is_gone_on_with(
    tmp_path: Path, database_url: str, drives: Drives, point: str
) -> None:
    """Taken back instead, the roll back or the deletion could not be claimed again in this visit."""
    world = with_policy(deploying_world(tmp_path, database_url, drives), tmp_path, FIX_FORWARD)
    first = staged(world, tmp_path, Stage.DEPLOY_STAGING, key="DEMO-1")
    world.run_until(lambda: world.stage(first.work_item) == "done", timeout_s=90)
    bad = staged(world, tmp_path, Stage.DEPLOY_STAGING, key="DEMO-2", files={BAD: "it does not come up\n"})
    until(lambda: _dies_at(world, drives, bad, point), timeout_s=90)
    put_back = "SELECT 1 FROM deployments WHERE kind = 'roll_back' AND status = 'rolled_back'"
    until(
        lambda: _repaired(world, bad) and world.stage("DEMO-2") == "development" and world.rows(put_back), timeout_s=90
    )
    assert world.git("rev-parse", "main^") in answers(world)
    assert "orch/DEMO-2" not in world.engine.project("DEMO").workspaces.branches()
    assert world.rows("SELECT kind FROM effects WHERE task_id = %s AND status <> 'confirmed'", bad.task_id) == []


@pytest.mark.parametrize("point", ["gate.check_deploy_observed.before", "effect.roll_back_deploy.claimed"])
def test_a_stop_puts_the_version_before_back_when_the_deploy_had_failed(
    tmp_path: Path, database_url: str, drives: Drives, point: str
) -> None:
    """Whether nobody had begun the repair, or its owner died on it: a version that failed stays for nobody's STOP."""
    world = deploying_world(tmp_path, database_url, drives)
    first = staged(world, tmp_path, Stage.DEPLOY_STAGING, key="DEMO-1")
    world.run_until(lambda: world.stage(first.work_item) == "done", timeout_s=90)
    good = world.git("rev-parse", "main")
    bad = staged(world, tmp_path, Stage.DEPLOY_STAGING, key="DEMO-2", files={BAD: "it does not come up\n"})
    until(lambda: _dies_after_its_deploy_failed(world, drives, bad, point), timeout_s=90)
    operator.stop(world.engine, bad.work_item, "ann")
    told = "SELECT 1 FROM tasks WHERE id = %s AND stop_acknowledged_at IS NOT NULL"
    until(lambda: _repaired(world, bad) and world.rows(told, bad.task_id), timeout_s=90)
    assert world.stage(bad.work_item) == "cancelled"
    assert good in answers(world)
    assert world.rows("SELECT status FROM deployments WHERE kind = 'roll_back'") == [("rolled_back",)]
    [(scope, _)] = world.rows(CLOSED)
    assert scope == "DEMO/main:DEMO-2", "what is merged now would be deployed on top of it"
    assert world.rows("SELECT kind FROM effects WHERE task_id = %s AND status = 'claimed'", bad.task_id) == []


def _dies_after_its_deploy_failed(world: World, drives: Drives, bad: Staged, point: str) -> bool:
    """Drive the item once, in a process that dies at ``point``. Says whether a deploy of it has failed by then, and its
    owner died in the stage of it."""
    drives.start("drive", bad.task_id, "monitor", 1, failpoints=f"{point}=kill").communicate(timeout=90)
    _looked_after(world)
    failed = "SELECT 1 FROM deployments WHERE task_id = %s AND status = 'failed'"
    owned = "SELECT 1 FROM transition_lease WHERE task_id = %s AND released_at IS NULL"
    return bool(world.rows(failed, bad.task_id) and world.rows(owned, bad.task_id))


@pytest.mark.parametrize("opened", [True, False])
def test_a_stop_of_an_item_that_was_repaired_does_not_close_the_lane_again(
    tmp_path: Path, database_url: str, drives: Drives, *, opened: bool
) -> None:
    world = with_policy(deploying_world(tmp_path, database_url, drives), tmp_path, PARK)
    _, bad = failed(world, tmp_path)
    if opened:
        assert operator.resume_lane(world.engine, "DEMO", "ann")
    operator.stop(world.engine, bad.work_item, "ann")
    until(lambda: _repaired(world, bad) and world.stage(bad.work_item) == "cancelled", timeout_s=90)
    assert bool(world.rows(CLOSED)) is not opened
    assert world.rows("SELECT status FROM deployments WHERE kind = 'roll_back'") == [("rolled_back",)]


def test_after_a_failed_deploy_that_parks_a_person_opens_the_lane(
    tmp_path: Path, database_url: str, drives: Drives
) -> None:
    world = with_policy(deploying_world(tmp_path, database_url, drives), tmp_path, PARK)
    failed(world, tmp_path)
    assert world.rows("SELECT parked_reason IS NOT NULL FROM tasks WHERE work_item = 'DEMO-2'") == [(True,)]
    other = staged(world, tmp_path, Stage.DEPLOY_STAGING, key="DEMO-3")
    assert driven(world, other.task_id) == "waiting"
    assert world.stage("DEMO-3") == "deploy-staging"
    assert operator.resume_lane(world.engine, "DEMO", "ann")
    driven(world, other.task_id)
    assert world.stage("DEMO-3") == "deploy"
