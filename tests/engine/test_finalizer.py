"""The finalizer after real deployers that were killed at named points: it ends what they left by looking."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

from sqlalchemy import text

from orchestrator.domain.configuration import DeploySpec
from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.views import DeploymentStatus
from orchestrator.engine.finalizer import FinalizerParts, FinalizerSummary, Step, finalize_deploys
from orchestrator.store import deployments
from orchestrator.store.deployments import ROLL_BACK, Deployment
from tests.fixtures_deploys import DeployWorld
from tests.processes import is_running, until

SUCCEEDED, FAILED = DeploymentStatus.SUCCEEDED, DeploymentStatus.FAILED
RUNNING, REQUESTED = DeploymentStatus.RUNNING, DeploymentStatus.REQUESTED


class Nudged:
    """Nudges, kept."""

    def __init__(self) -> None:
        self.driven: list[str] = []

    def drive(self, task_id: int, work_item: str, actor: str) -> None:
        self.driven.append(f"{work_item} by {actor}")

    def launch_agent(self, node: str, job_id: int, work_item: str) -> None:
        raise AssertionError("a finalizer launches no agent")

    stop_agent = finish_job = launch_agent

    def finalize_deploys(self) -> None:
        raise AssertionError("a pass does not ask for the next one")


def parts_of(world: DeployWorld, nudged: Nudged, **limits: int) -> FinalizerParts:
    def spec_of(project: str, environment: str) -> DeploySpec:
        if environment == "misconfigured":
            raise ConfigurationError(".orchestrator.yml:3:1: deploys: is not a mapping")
        return world.spec(environment, **limits)

    return FinalizerParts(world.store, world.host, nudged, spec_of, lambda project: world.deployer())


def sweep(world: DeployWorld, **limits: int) -> FinalizerSummary:
    return finalize_deploys(parts_of(world, Nudged(), **limits))


def killed_at(world: DeployWorld, point: str, row: Deployment, spec: DeploySpec | None = None) -> Deployment:
    world.launch(row, spec, failpoints=f"{point}=kill")
    dead = world.until_deployer_is_gone(row)
    assert dead.status is RUNNING
    return dead


def test_killed_before_its_command_began_it_failed_and_the_task_looks_again(world: DeployWorld) -> None:
    row = killed_at(world, "deploy.won", world.request())
    before, nudged = world.facts_at(row), Nudged()
    summary = finalize_deploys(parts_of(world, nudged))
    ended = world.row(row)
    assert (ended.status, ended.observed_sha) == (FAILED, None)
    assert "its deployer died, its command: not started; nothing answers" in ended.detail
    assert str(summary) == "1 failed"
    assert nudged.driven == [f"{row.work_item} by finalizer"]
    assert world.facts_at(row) > before
    assert world.runs() == []


def test_killed_before_it_wrote_the_end_it_succeeded_because_its_version_answers(world: DeployWorld) -> None:
    row = killed_at(world, "deploy.done", world.request("production"))
    assert sweep(world).count(Step.LANDED) == 1
    ended = world.row(row)
    assert (ended.status, ended.observed_sha) == (SUCCEEDED, world.first)
    assert len(world.runs()) == 1


def test_killed_before_it_wrote_the_end_it_failed_where_the_version_is_not_healthy(world: DeployWorld) -> None:
    (world.state / "unhealthy").write_text(world.first)
    spec = replace(world.spec(), health_timeout_s=1)
    row = killed_at(world, "deploy.done", world.request(), spec)
    assert sweep(world, health_timeout_s=1).count(Step.FAILED) == 1
    ended = world.row(row)
    assert (ended.status, ended.observed_sha) == (FAILED, world.first)
    assert "not healthy" in ended.detail


def test_a_command_that_outlived_its_deployer_is_waited_for(world: DeployWorld) -> None:
    (world.state / "hold").touch()
    row = world.request()
    world.launch(row)
    command = world.command_pid()
    kill_deployer(world, row)
    left = sweep(world).units[0]
    assert (left.step, is_running(command)) == (Step.LEFT, True)
    assert "the command still runs" in left.why
    (world.state / "hold").unlink()
    until(lambda: not is_running(command), timeout_s=30)
    assert sweep(world).count(Step.LANDED) == 1
    assert world.row(row).status is SUCCEEDED


def kill_deployer(world: DeployWorld, row: Deployment) -> None:
    owner = world.row(row).owner
    assert owner is not None
    assert world.host.kill(owner, 10)


def test_a_command_that_outlived_its_deployer_and_its_limit_is_ended_before_the_look(world: DeployWorld) -> None:
    """Else it could land after the row says that it failed, under the roll back."""
    (world.state / "hold").touch()
    row = world.request()
    world.launch(row)
    command = world.command_pid()
    kill_deployer(world, row)
    world.age(row, "started_at")
    assert sweep(world).count(Step.FAILED) == 1
    assert not is_running(command)
    assert world.row(row).status is FAILED


def test_a_living_deployer_is_left_alone_however_long_it_takes(world: DeployWorld, tmp_path: Path) -> None:
    row = world.request()
    world.launch(row, failpoints=f"deploy.won=wait:{tmp_path / 'go'}")
    until((tmp_path / "go.reached").exists, timeout_s=30)
    world.age(row, "started_at")
    unit = sweep(world).units[0]
    assert (unit.step, unit.why) == (Step.LEFT, "its deployer is alive")
    pid = world.row(row).owner
    assert pid is not None
    os.kill(pid.pid, signal.SIGSTOP)
    assert sweep(world).units[0].why == "its deployer is alive"
    os.kill(pid.pid, signal.SIGCONT)
    (tmp_path / "go").touch()
    assert world.until_status(row, SUCCEEDED, FAILED).status is SUCCEEDED


def test_a_deployer_on_another_node_is_left_alone_while_nobody_can_tell(world: DeployWorld) -> None:
    row = killed_at(world, "deploy.done", world.request())
    with world.store.transaction() as connection:
        connection.execute(text("UPDATE deployments SET owner_node = 'elsewhere'"))
    world.age(row, "started_at")
    assert sweep(world).units[0].why == "its deployer is unknown"
    assert world.row(row).status is RUNNING


def test_a_launch_that_got_lost_is_made_again(world: DeployWorld) -> None:
    row = world.request()
    assert sweep(world).count(Step.LAUNCHED) == 1
    assert world.row(row).launched_at is not None
    # A pass that came before the deployer has begun does not start a second one.
    assert sweep(world).count(Step.LAUNCHED) == 0
    assert world.until_status(row, SUCCEEDED, FAILED).status is SUCCEEDED


def test_a_deployer_that_never_won_its_row_is_replaced_after_a_while(world: DeployWorld) -> None:
    row = world.request()
    with world.store.transaction() as connection:
        deployments.mark_launched(connection, row.id)
    assert sweep(world).count(Step.LEFT) == 1
    world.age(row, "launched_at")
    assert sweep(world).count(Step.LAUNCHED) == 1
    assert world.until_status(row, SUCCEEDED, FAILED).status is SUCCEEDED


def test_those_who_wait_for_an_environment_get_their_turn_in_order(world: DeployWorld) -> None:
    first = killed_at(world, "deploy.done", world.request("production", world.first))
    second = world.request("production", world.second)
    # Too early: its deployer gives the launch back instead of sleeping at the door.
    world.launch(second)
    world.until_log_says(second, f"{deployments.OCCUPIED}: nothing to do here")
    until(lambda: world.row(second).launched_at is None)
    units = {unit.deployment_id: unit.step for unit in sweep(world).units}
    assert units == {first.id: Step.LANDED, second.id: Step.LEFT}
    assert sweep(world).count(Step.LAUNCHED) == 1
    ended = world.until_status(second, SUCCEEDED, FAILED)
    assert (ended.status, ended.previous_sha) == (SUCCEEDED, world.first)


def test_a_bad_row_does_not_stop_the_pass(world: DeployWorld) -> None:
    bad, good = world.request("misconfigured"), world.request("staging")
    units = {unit.deployment_id: unit for unit in sweep(world).units}
    assert (units[bad.id].step, units[good.id].step) == (Step.ERROR, Step.LAUNCHED)
    assert ".orchestrator.yml:3:1" in units[bad.id].why
    with world.store.transaction() as connection:
        counted = connection.execute(text("SELECT value FROM counters WHERE name = 'finalizer_errors_total'"))
        assert counted.scalar_one() == 1
    assert world.row(bad).status is REQUESTED
    assert world.until_status(good, SUCCEEDED, FAILED).status is SUCCEEDED


def test_of_two_passes_at_once_one_writes_the_end(world: DeployWorld) -> None:
    killed_at(world, "deploy.won", world.request())
    nudged, summaries = Nudged(), list[FinalizerSummary]()
    parts, barrier = parts_of(world, nudged), threading.Barrier(2)

    def one_pass() -> None:
        barrier.wait()
        summaries.append(finalize_deploys(parts))

    threads = [threading.Thread(target=one_pass) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(summary.count(Step.FAILED) for summary in summaries) == 1
    assert len(nudged.driven) == 1


def test_a_roll_back_goes_the_same_way_and_puts_the_previous_version_back(world: DeployWorld) -> None:
    good = world.request("production", world.first)
    world.launch(good)
    world.until_status(good, SUCCEEDED)
    (world.state / "unhealthy").write_text(world.second)
    bad = world.request("production", world.second)
    world.launch(bad, replace(world.spec("production"), health_timeout_s=1))
    failed = world.until_status(bad, FAILED)
    assert failed.previous_sha == world.first
    back = world.request("production", failed.previous_sha, kind=ROLL_BACK)
    sweep(world)
    ended = world.until_status(back, SUCCEEDED, FAILED, DeploymentStatus.ROLLED_BACK)
    assert (ended.status, ended.landed) == (DeploymentStatus.ROLLED_BACK, True)
    assert world.observe("production").version == world.first


def test_nothing_unfinished_is_nothing_to_do(world: DeployWorld) -> None:
    assert str(sweep(world)) == "nothing to do"
