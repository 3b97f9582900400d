"""The detached deployer as a real process: it wins or leaves, brings a real service up, and writes what it saw."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from orchestrator.adapters import procfs
from orchestrator.adapters.deployers.by_driver import deployers_here
from orchestrator.adapters.deployers.command import DEPLOYER, CommandDeployer
from orchestrator.adapters.deployers.compose import ComposeDeployer
from orchestrator.adapters.deployers.deploy_files import DeployFiles
from orchestrator.adapters.host import this_host
from orchestrator.domain.configuration import DeploySpec
from orchestrator.domain.errors import ConfigurationError, TransientError
from orchestrator.domain.views import DeploymentStatus
from orchestrator.ports import Deployer, DeployRequest, Observation
from orchestrator.store import deployments
from tests.fixtures_deploys import NODE, DeployWorld, free_port
from tests.processes import is_running, until

REQUESTED, RUNNING = DeploymentStatus.REQUESTED, DeploymentStatus.RUNNING
SUCCEEDED, FAILED = DeploymentStatus.SUCCEEDED, DeploymentStatus.FAILED


def test_a_version_is_brought_up_seen_and_written_down(world: DeployWorld) -> None:
    row = world.request("production", world.second)
    before = world.facts_at(row)
    world.launch(row)
    ended = world.until_status(row, SUCCEEDED, FAILED)
    assert (ended.status, ended.observed_sha) == (SUCCEEDED, world.second), ended.detail
    assert world.observe("production") == Observation(world.second, True, ended.detail)
    assert world.facts_at(row) > before
    until(lambda: world.nudges() == [f"drive {row.work_item} by finalizer", "finalize_deploys"])


def test_the_command_gets_its_four_names_and_nothing_of_ours(world: DeployWorld) -> None:
    row = world.request("staging")
    world.launch(row)
    world.until_status(row, SUCCEEDED)
    given = json.loads((world.state / "environment.json").read_text())
    ours = {name: text for name, text in given.items() if name.startswith("ORCH_")}
    assert ours == {
        "ORCH_SHA": world.first,
        "ORCH_IMAGE": "demo:1",
        "ORCH_ENVIRONMENT": "staging",
        "ORCH_DEPLOYMENT": str(row.id),
    }
    assert "DEPLOY_TEST_REMOTE" not in given
    assert "a-secret-of-ours" not in json.dumps(given)
    assert world.database_url not in json.dumps(given)


def test_the_command_runs_in_a_checkout_of_its_version_that_is_gone_afterwards(world: DeployWorld) -> None:
    row = world.request("staging", world.unmerged)
    out = world.state / "seen"
    spec = DeploySpec(command=("sh", "-c", f"cat app.txt > {out}; pwd >> {out}; exit 7"), health_timeout_s=1)
    world.launch(row, spec)
    ended = world.until_status(row, SUCCEEDED, FAILED)
    content, folder = out.read_text().splitlines()[0].partition("/")[::2]
    assert content == "unmerged"
    assert not Path(f"/{folder}").exists()
    assert "left with 7" in ended.detail


def test_a_version_that_is_not_healthy_is_a_failure_with_what_was_seen(world: DeployWorld) -> None:
    (world.state / "unhealthy").write_text(world.first)
    row = world.request()
    world.launch(row, world.spec(health_timeout_s=1))
    ended = world.until_status(row, SUCCEEDED, FAILED)
    assert (ended.status, ended.observed_sha) == (FAILED, world.first)
    assert "not healthy" in ended.detail
    assert "503" in ended.detail


def test_another_version_that_answers_is_a_failure(world: DeployWorld) -> None:
    first = world.request()
    world.launch(first)
    world.until_status(first, SUCCEEDED)
    second = world.request("staging", world.second)
    spec = DeploySpec(command=("true",), health_url=world.spec().health_url, health_timeout_s=1)
    world.launch(second, spec)
    ended = world.until_status(second, SUCCEEDED, FAILED)
    assert (ended.status, ended.observed_sha, ended.previous_sha) == (FAILED, world.first, world.first)


def test_a_command_that_fails_is_a_failure_with_its_last_words(world: DeployWorld) -> None:
    (world.state / "broken").touch()
    row = world.request()
    world.launch(row)
    ended = world.until_status(row, SUCCEEDED, FAILED)
    assert ended.status is FAILED
    assert "left with 1" in ended.detail
    assert "the disk of the server is full" in ended.detail


def test_a_command_that_does_not_end_is_ended_with_all_its_processes(world: DeployWorld) -> None:
    pids = world.state / "pids"
    script = f"trap '' TERM; sleep 300 & echo $! > {pids}; echo $$ >> {pids}; wait; sleep 300"
    row = world.request()
    world.launch(row, DeploySpec(command=("bash", "-c", script), timeout_s=1, health_timeout_s=1))
    ended = world.until_status(row, SUCCEEDED, FAILED)
    assert "did not end in 1 s" in ended.detail
    assert [pid for pid in pids.read_text().split() if is_running(int(pid))] == []


def test_a_command_that_does_not_exist_is_a_failure_that_names_it(world: DeployWorld) -> None:
    row = world.request()
    world.launch(row, DeploySpec(command=("no-such-program",)))
    ended = world.until_status(row, SUCCEEDED, FAILED)
    assert ended.status is FAILED
    assert "no-such-program" in ended.detail


def test_only_what_the_base_branch_has_goes_to_production(world: DeployWorld) -> None:
    row = world.request("production", world.unmerged)
    world.launch(row)
    ended = world.until_status(row, SUCCEEDED, FAILED)
    assert ended.status is FAILED
    assert "not reachable from the base branch" in ended.detail
    assert world.runs() == []


def test_a_version_that_no_branch_has_is_a_failure_and_nothing_is_run(world: DeployWorld) -> None:
    row = world.request("staging", "0" * 40)
    world.launch(row)
    ended = world.until_status(row, SUCCEEDED, FAILED)
    assert ended.status is FAILED
    assert "nothing was run" in ended.detail
    assert world.runs() == []


def test_of_two_deployers_of_one_row_one_deploys(world: DeployWorld) -> None:
    """With a directory each, as on two machines: nothing but the row decides."""
    row = world.request()
    places = [world.base / "one", world.base / "two"]
    for place in places:
        world.launch(row, data_dir=place)
    world.until_status(row, SUCCEEDED)
    until(lambda: "nothing to do here" in world.log(row, places[0]) + world.log(row, places[1]), timeout_s=30)
    assert len(world.runs()) == 1


def test_a_deployer_that_comes_after_the_revocation_runs_nothing(world: DeployWorld) -> None:
    row = world.request()
    with world.store.transaction() as connection:
        deployments.revoke(connection, row.id)
    world.launch(row)
    world.until_log_says(row, "revoked already: nothing to do here")
    assert world.runs() == []
    assert world.row(row).status is DeploymentStatus.REVOKED


def test_a_deployer_whose_row_was_ended_meanwhile_runs_nothing(world: DeployWorld, tmp_path: Path) -> None:
    go = tmp_path / "go"
    row = world.request()
    world.launch(row, failpoints=f"deploy.won=wait:{go}")
    until((tmp_path / "go.reached").exists, timeout_s=30)
    with world.store.transaction() as connection:
        deployments.finish(connection, row.id, None, FAILED, None, "its node was declared lost")
    go.touch()
    world.until_log_says(row, "has ended already")
    assert world.runs() == []
    assert world.row(row).detail == "its node was declared lost"


def test_two_environments_are_deployed_at_once(world: DeployWorld) -> None:
    (world.state / "hold").touch()
    rows = [world.request("staging"), world.request("production")]
    for row in rows:
        world.launch(row)
    until(lambda: len(world.runs()) == 2, timeout_s=30)
    assert [world.row(row).status for row in rows] == [RUNNING, RUNNING]
    (world.state / "hold").unlink()
    for row in rows:
        assert world.until_status(row, SUCCEEDED, FAILED).status is SUCCEEDED


def test_the_machine_refuses_a_second_deployer_in_an_environment(world: DeployWorld) -> None:
    """Also when the database has forgotten the first one."""
    row = world.request()
    with DeployFiles(world.data_dir).environment_lock(row.project, row.environment) as free:
        assert free
        world.launch(row)
        world.until_log_says(row, f"{deployments.OCCUPIED}: nothing to do here")
        until(lambda: world.row(row).launched_at is None)
    assert world.runs() == []
    assert world.row(row).status is REQUESTED


def test_the_deployer_outlives_whoever_launched_it(world: DeployWorld, tmp_path: Path) -> None:
    go = tmp_path / "go"
    row = world.request()
    launcher = _launcher(world, row.id, f"deploy.won=wait:{go}")
    try:
        until((tmp_path / "go.reached").exists, timeout_s=30)
    finally:
        os.killpg(launcher.pid, signal.SIGKILL)
        launcher.wait()
    owner = world.row(row).owner
    assert owner is not None
    seen = procfs.look(owner.pid)
    assert seen is not None
    assert seen.sid not in (os.getsid(0), launcher.pid)
    assert seen.ppid != launcher.pid
    go.touch()
    assert world.until_status(row, SUCCEEDED, FAILED).status is SUCCEEDED


def test_the_real_entry_finds_the_repository_by_the_operators_configuration(world: DeployWorld) -> None:
    world.data_dir.mkdir()
    stages = "".join(
        f"      {stage}: {{command: ['true']}}\n"
        for stage in ("analysis", "architecture", "development", "review", "testing")
    )
    projects = f"projects:\n  - key: DEMO\n    repository: {world.remote}\n    agents:\n{stages}"
    (world.data_dir / "orchestrator.yml").write_text(projects)
    row = world.request("production", world.second)
    world.launch(row, program=DEPLOYER)
    ended = world.until_status(row, SUCCEEDED, FAILED)
    assert ended.status is SUCCEEDED, ended.detail


def test_with_a_bad_edit_of_the_configuration_a_deployment_waits(world: DeployWorld) -> None:
    world.data_dir.mkdir()
    (world.data_dir / "orchestrator.yml").write_text("projects: {")
    row = world.request()
    world.launch(row, program=DEPLOYER)
    world.until_log_says(row, f"deployment {row.id} waits: ")
    assert world.row(row).status is REQUESTED


def _launcher(world: DeployWorld, deployment_id: int, failpoints: str) -> subprocess.Popen[bytes]:
    """A process that stands for a worker's child: it ignores SIGINT, launches, and stays."""
    deployer, spec = world.deployer(failpoints), world.spec()
    program = f"""
import signal, sys, time
from pathlib import Path
from orchestrator.adapters.deployers.command import CommandDeployer
from orchestrator.adapters.host import this_host
from orchestrator.domain.configuration import DeploySpec
from orchestrator.ports import DeployRequest
signal.signal(signal.SIGINT, signal.SIG_IGN)
deployer = CommandDeployer(Path({str(world.data_dir)!r}), this_host({NODE!r}), {deployer._environment!r},
                           {deployer._program!r})
deployer.launch(DeployRequest({deployment_id}, "DEMO", "staging", {world.first!r}, None, {spec!r}))
time.sleep(300)
"""
    return subprocess.Popen([sys.executable, "-c", program], start_new_session=True)


def test_a_deployer_that_cannot_be_started_is_a_transient_error(tmp_path: Path) -> None:
    deployer = CommandDeployer(tmp_path, this_host(NODE), {}, ("/bin/true",))
    (tmp_path / "deploys").mkdir()
    (tmp_path / "deploys" / "7.log").mkdir()
    with pytest.raises((TransientError, IsADirectoryError)):
        deployer.launch(_request(DeploySpec()))


def _request(spec: DeploySpec) -> DeployRequest:
    return DeployRequest(7, "My Shop", "staging", "a" * 40, None, spec)


# --- looking -------------------------------------------------------------------------------------------------


class Answering:
    """An HTTP server whose next answers are set by the test."""

    def __init__(self) -> None:
        self.status, self.body = 200, b""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(outer.status)
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/health"

    def end(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def answering() -> Iterator[Answering]:
    server = Answering()
    yield server
    server.end()


@pytest.fixture
def look(tmp_path: Path) -> Callable[[str], Observation]:
    deployer: Deployer = CommandDeployer(tmp_path, this_host(NODE), {})
    return lambda url: deployer.observe(DeploySpec(health_url=url))


@pytest.mark.parametrize(
    ("status", "body", "version", "healthy"),
    [
        (200, b'{"version": "abc", "uptime": 3}', "abc", True),
        (503, b'{"version": "abc"}', "abc", False),
        (302, b'{"version": "abc"}', "abc", False),
        (200, b"<html>welcome</html>", None, True),
        (200, b'["abc"]', None, True),
        (200, b'{"version": 7}', None, True),
        (200, b'{"version": ""}', None, True),
        (200, b'{"version": "a\\u0000b\\ud800"}', "a b?", True),
        (200, b"\xff\xfe", None, True),
        (200, b"x" * 100_000, None, False),
        (200, b"[" * 60_000, None, True),
    ],
)
def test_what_answers_is_told_as_it_is(
    answering: Answering, look: Callable[[str], Observation], status: int, body: bytes, version: str, healthy: bool
) -> None:
    answering.status, answering.body = status, body
    seen = look(answering.url)
    assert (seen.version, seen.healthy) == (version, healthy)
    assert str(status) in seen.detail
    assert len(seen.detail) < 800


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:{port}/", "http://[oops", "gopher://127.0.0.1/"])
def test_no_answer_is_an_observation_too(look: Callable[[str], Observation], url: str) -> None:
    seen = look(url.format(port=free_port()))
    assert (seen.version, seen.healthy) == (None, False)
    assert seen.detail


# --- files and drivers ---------------------------------------------------------------------------------------


def test_a_log_keeps_its_end_and_its_writers_go_on(tmp_path: Path) -> None:
    files = DeployFiles(tmp_path)
    descriptor = files.open_log(7)
    os.write(descriptor, b"old " * 1000)
    os.write(descriptor, b"the end")
    files.cap_log(7, cap=1000)
    os.write(descriptor, b" and on")
    os.close(descriptor)
    text = files.log(7).read_text()
    assert len(text) < 1000
    assert "bytes cut by the orchestrator" in text
    assert text.endswith("the end and on")
    files.cap_log(7, cap=1000)
    assert files.log(7).read_text() == text
    assert files.tail(7, 6) == "and on"
    assert files.tail(8, 6) == ""


def test_what_was_decided_is_kept_for_the_deployer_whatever_another_version_adds(tmp_path: Path) -> None:
    files = DeployFiles(tmp_path)
    spec = DeploySpec(command=("a", "b"), health_url="http://x", timeout_s=5, health_timeout_s=6)
    files.write_spec(7, spec)
    file = tmp_path / "deploys" / "7.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "added_later": 1}))
    assert files.read_spec(7) == spec
    assert files.read_spec(8) is None


def test_names_of_environments_cannot_lead_out_of_the_directory(tmp_path: Path) -> None:
    files = DeployFiles(tmp_path)
    with files.environment_lock("../../x", "a/b"):
        assert [file.name for file in files.base.iterdir()] == ["..%2F..%2Fx-a%2Fb.lock"]


def test_compose_is_a_command_that_is_named_after_project_and_environment(tmp_path: Path) -> None:
    deployer = ComposeDeployer(tmp_path, this_host(NODE), {}, ("/bin/true",))
    deployer.launch(_request(DeploySpec(driver="compose", health_url="http://x")))
    spec = DeployFiles(tmp_path).read_spec(7)
    assert spec is not None
    expected = "docker compose --project-name my-shop-staging -f compose.yaml up --detach --wait"
    assert " ".join(spec.command).startswith(expected)


def test_an_unknown_driver_is_refused_by_name(tmp_path: Path) -> None:
    deployer = deployers_here(tmp_path, this_host(NODE), {})
    with pytest.raises(ConfigurationError, match="'magic', allowed are command, compose"):
        deployer.launch(_request(DeploySpec(driver="magic")))
