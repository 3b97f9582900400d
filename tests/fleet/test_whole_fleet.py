"""The whole fleet of one machine: real stores, workers, beat, web and Flower. One fleet for all tests here."""

from __future__ import annotations

import base64
import importlib.util
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.fleet import Fleet
from orchestrator.settings import load_settings
from tests.fleet.conftest import gone, wait_until


def _is_there(package: str, needs: str = "") -> bool:
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None and needs in Path(spec.origin).read_text()


# The fleet was built before the programs that it runs.
_ALL_THERE = _is_there("orchestrator.store.migrations") and _is_there("tasks", "app") and _is_there("web", "create_app")
pytestmark = [
    pytest.mark.fleet,
    pytest.mark.slow,
    pytest.mark.skipif(not _ALL_THERE, reason="needs the migrations, the Celery app and the web app"),
]

SERVICES = {"postgres", "valkey", "edges", "intake", "sweeps", "agents", "beat", "web", "flower"}


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "HOME": str(tmp_path_factory.mktemp("home")),
        "ORCH_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "ORCH_NODE": "n1",
        "ORCH_PORT": _free_port(),
        "ORCH_FLOWER_PORT": _free_port(),
    }


@pytest.fixture(scope="module")
def running(environ: dict[str, str]) -> Iterator[Fleet]:
    """A fleet that is ready; stopped at the end, or killed by the test that ends it."""
    fleet = Fleet(load_settings(environ))
    fleet.start()
    yield fleet
    fleet.stop(grace_s=5.0)


def _status(port: str, path: str, password: str = "") -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if password:
        token = base64.b64encode(f"orch:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_every_service_runs_and_answers(running: Fleet, environ: dict[str, str]) -> None:
    assert running.pids().keys() >= SERVICES
    assert _status(environ["ORCH_PORT"], "/livez") == 200


def test_one_service_is_told_without_looking_at_all_processes(running: Fleet) -> None:
    assert running.pid("web") == running.pids()["web"]
    assert running.is_ready("web")
    assert running.pid("nothing") is None
    assert not running.is_ready("nothing")
    assert running.ready()
    assert not running.ended()


def test_flower_asks_for_the_password_in_the_data_directory(running: Fleet, environ: dict[str, str]) -> None:
    password = (Path(environ["ORCH_DATA_DIR"]) / "flower.password").read_text().strip()
    assert _status(environ["ORCH_FLOWER_PORT"], "/") == 401
    assert _status(environ["ORCH_FLOWER_PORT"], "/", password) == 200


@pytest.mark.parametrize("name", ["web", "sweeps", "valkey", "postgres"])
def test_a_killed_service_is_ready_again(running: Fleet, environ: dict[str, str], name: str) -> None:
    starts = running.starts(name)
    os.kill(running.pids()[name], signal.SIGKILL)
    running.wait_restarted(name, starts)
    assert _status(environ["ORCH_PORT"], "/livez") == 200


def _spares(fleet: Fleet) -> list[int]:
    """Pids of who waits to become a worker: started as one, and no service of the record."""
    found = psutil.Process(fleet.pids()["supervisor"]).children()
    return [
        one.pid
        for one in found
        if "orchestrator.fleet.worker" in one.cmdline() and one.pid not in fleet.pids().values()
    ]


def _spare(fleet: Fleet) -> int:
    wait_until(lambda: bool(_spares(fleet)), "no spare is kept", 60.0)
    (pid,) = _spares(fleet)
    return pid


@pytest.mark.parametrize("name", ["edges", "intake", "sweeps", "agents", "beat"])
def test_a_spare_takes_over_from_whoever_is_killed(running: Fleet, environ: dict[str, str], name: str) -> None:
    spare, starts = _spare(running), running.starts(name)
    log = Path(environ["ORCH_DATA_DIR"]) / "logs" / f"{name}.log"
    said = log.stat().st_size
    os.kill(running.pids()[name], signal.SIGKILL)
    running.wait_restarted(name, starts)
    assert running.pid(name) == spare
    wait_until(lambda: psutil.Process(spare).name() == name, "a list of processes does not name it")
    wait_until(lambda: log.stat().st_size > said, "its output is not in the log of the service")
    assert _spare(running) != spare


def test_a_service_is_restarted_on_request(running: Fleet) -> None:
    before = running.pids()["beat"]
    running.restart("beat")
    assert running.pids()["beat"] != before


def test_kill_nine_of_the_supervisor_leaves_nothing_and_a_new_one_starts(running: Fleet) -> None:
    pids = [*running.pids().values(), _spare(running)]
    running.kill()
    wait_until(lambda: all(map(gone, pids)), "a process outlived the supervisor")
    running.launch()
    assert not running.ready()
    wait_until(running.ready, "the new supervisor's fleet was not ready", 120.0)


def test_an_orderly_stop_leaves_nothing(running: Fleet) -> None:
    pids = [*running.pids().values(), _spare(running)]
    assert running.stop(grace_s=20.0) == 0
    assert [pid for pid in pids if not gone(pid)] == []
