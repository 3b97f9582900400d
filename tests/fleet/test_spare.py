"""What a spare has loaded when it waits. That it takes over is shown on the whole fleet."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.fleet.running import RunningService
from orchestrator.fleet.service import Rank, Service
from orchestrator.fleet.services import build_services
from orchestrator.fleet.spare import Order, Spare
from orchestrator.fleet.supervisor import Supervisor
from orchestrator.fleet.wakeups import Wakeups
from orchestrator.settings import load_settings
from tests.fleet.conftest import gone, wait_until

_MODULES = """
import importlib, json, sys
from orchestrator.fleet.worker import LOADED
for name in LOADED:
    importlib.import_module(name)
before = set(sys.modules)
import tasks.__main__
# What Celery itself loads by name as a worker or beat starts.
from celery.concurrency import get_implementation
from celery.utils.imports import symbol_by_name
from kombu.transport import resolve_transport
app = tasks.app
app.finalize()
app.loader.import_default_modules()
[app.Worker, app.Beat, symbol_by_name(app.conf.worker_consumer), resolve_transport("redis")]
[get_implementation(pool) for pool in ("prefork", "threads")]
print(json.dumps([sorted(before), sorted(set(sys.modules) - before)]))
"""
_READ_WHEN_TOLD = {"tasks", "celeryconfig", "beat_schedule"}


def _modules(tmp_path: Path) -> tuple[list[str], list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", _MODULES],
        env={"ORCH_DATA_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin"},
        capture_output=True,
        check=True,
    )
    before, after = json.loads(done.stdout)
    return before, after


def test_it_has_loaded_all_but_what_the_operator_can_change(tmp_path: Path) -> None:
    before, after = _modules(tmp_path)
    assert {name.partition(".")[0] for name in after} == _READ_WHEN_TOLD
    assert not _READ_WHEN_TOLD & set(before)


def test_workers_and_beat_can_be_taken_over_by_their_own_words(tmp_path: Path) -> None:
    settings = load_settings({"ORCH_DATA_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin"})
    services = build_services(settings, flower_password="a-password-of-flower")
    takers = {one.name: one for one in services if one.spare_words}
    assert set(takers) == {"edges", "intake", "sweeps", "agents", "beat"}
    assert all(one.argv == (sys.executable, "-m", "tasks", *one.spare_words) for one in takers.values())
    assert len({tuple(sorted(one.env.items())) for one in takers.values()}) == 1  # a spare has one environment


def _order(data_dir: Path) -> Order:
    return Order("edges", ("worker", "--help"), str(data_dir / "logs" / "edges.log"))


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """Where the program lies: a module each of what counts."""
    for name in ("celeryconfig.py", "orchestrator/fleet/spare.py", "tasks/base.py"):
        (tmp_path / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "code" / name).write_text("the version that was loaded")
    return tmp_path / "code"


@pytest.fixture
def spare(tmp_path: Path, code: Path) -> Iterator[Spare]:
    (tmp_path / "logs").mkdir()
    spare = Spare({"PATH": "/usr/bin"}, tmp_path, code)
    yield spare
    spare.end()


def test_there_is_one_at_most_and_it_becomes_one_service(spare: Spare, tmp_path: Path) -> None:
    spare.keep()
    kept = spare._process
    spare.keep()
    first = spare.take(_order(tmp_path))
    assert first is not None
    assert first is kept
    assert spare.take(_order(tmp_path)) is None
    assert first.wait(60.0) == 0
    assert "Usage: python -m tasks worker" in (tmp_path / "logs" / "edges.log").read_text()


def test_one_that_ended_by_itself_is_not_given_and_not_started_again_at_once(spare: Spare, tmp_path: Path) -> None:
    spare.keep()
    process = spare._process
    assert process is not None
    process.kill()
    process.wait()
    assert spare.take(_order(tmp_path)) is None
    spare.keep()
    spare.keep()
    assert spare._process is None


@pytest.mark.parametrize("name", ["celeryconfig.py", "orchestrator/fleet/spare.py", "tasks/base.py"])
def test_one_of_an_older_version_of_the_program_is_not_given_but_followed_by_a_new_one(
    spare: Spare, tmp_path: Path, code: Path, name: str
) -> None:
    spare.keep()
    old = spare._process
    assert old is not None
    (code / name).write_text("the next one")
    assert spare.take(_order(tmp_path)) is None
    assert gone(old.pid)
    spare.keep()
    new = spare.take(_order(tmp_path))
    assert new is not None
    assert new.wait(60.0) == 0


def test_none_is_started_beside_a_service_that_is_not_ready(spare: Spare, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    service = Service(name="edges", argv=("sleep", "60"), env={}, rank=Rank.WORKERS, ready=ready.exists)
    supervisor = Supervisor([service], tmp_path, lambda _: None, spare=spare)
    (running,) = supervisor._running
    running.start()
    for there in (False, True):
        running.watch()
        supervisor._keep_spare()
        assert (spare._process is not None) is there
        ready.touch()
    running.signal(signal.SIGKILL)
    wait_until(running.is_gone, "it did not end")


def test_without_a_spare_a_service_is_started_from_nothing(spare: Spare, tmp_path: Path) -> None:
    argv = (sys.executable, "-c", "print('from nothing')")
    service = Service(name="edges", argv=argv, env={}, rank=Rank.WORKERS, spare_words=("worker", "--help"))
    running = RunningService(service, tmp_path, lambda _: None, spare)
    running.start()
    wait_until(running.is_gone, "it did not end")
    assert running.last_words == "from nothing"


def test_a_disk_that_takes_no_log_leaves_the_fleet_without_one(spare: Spare, tmp_path: Path) -> None:
    (tmp_path / "logs" / "spare.log").mkdir()
    spare.keep()
    assert spare._process is None


def test_it_ends_when_the_fleet_begins_to_stop(spare: Spare, tmp_path: Path) -> None:
    supervisor = Supervisor([], tmp_path, lambda _: None, spare=spare)
    supervisor._keep_spare()
    process = spare._process
    assert process is not None
    with Wakeups() as wakeups:
        supervisor._stop_all(wakeups)
    assert gone(process.pid)


def test_ending_it_leaves_nobody(spare: Spare) -> None:
    spare.keep()
    process = spare._process
    assert process is not None
    spare.end()
    assert gone(process.pid)
