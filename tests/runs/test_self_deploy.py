"""The orchestrator deploys itself while three agents run: a new version of it takes the place of the one that runs, by
``tools/deploy_self.sh``. None of the three is ended, each is finished once by the new version, and the deployment ends
as done although everything that started it is gone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator.demo.leftovers import end_leftovers
from orchestrator.demo.place import TIMINGS, Place, demo_settings, make_place
from orchestrator.demo.project import git
from orchestrator.demo.story import PROJECT
from orchestrator.engine import intake
from orchestrator.engine.context import Engine
from orchestrator.fleet.identity import ProcessIdentity, identify
from orchestrator.fleet.record import FleetRecord, read_record, record_path
from orchestrator.settings import load_settings
from tests.runs.yard import engine_of, living_shims, rows_of, starts_in, write_config

pytestmark = [pytest.mark.fleet, pytest.mark.soak, pytest.mark.timeout(1200)]

ROOT: Final = Path(__file__).parents[2]
CODE: Final = ("orchestrator", "tasks", "web", "celeryconfig.py", "beat_schedule.py", "tools", "setup.cfg")
STAGES: Final = ("analysis", "architecture", "development", "review", "testing")
CHANGED: Final = "orchestrator/__init__.py"
PATIENCE_S: Final = 300.0

INSTALL: Final = """#!/bin/sh
# A virtual environment of its own with the code of this version; what it needs comes from where the tests run.
set -e
{python} -m venv --without-pip "$2"
cp -R "$1" "$2/code"
printf '%s\\n%s\\n' "$2/code" {packages} > "$2/lib/python{version}/site-packages/orchestrator.pth"
printf '#!%s/bin/python\\nimport sys\\nfrom orchestrator.cli import main\\nsys.exit(main())\\n' "$2" > "$2/bin/orch"
chmod +x "$2/bin/orch"
"""
REPOSITORY_YML: Final = """\
test: ["true"]
gates:
  ci: {{source: run}}
deploys:
  production:
    command: [bash, tools/deploy_self.sh, {home}]
    health_url: {health}
    timeout_s: 300
    health_timeout_s: 300
"""


class Home:
    """Where the orchestrator of this test is installed, with the project that is itself."""

    def __init__(self, place: Place) -> None:
        self.place, self.path = place, place.data_dir.parent / "home"
        self.path.mkdir()
        self.repository = place.world / "orchestrator.git"
        self.health = f"http://127.0.0.1:{place.ports.web}/livez"
        self.first = self._make_repository()
        write_config(place, self.repository, 8, STAGES)
        self.settings = demo_settings(place, {"ORCH_REAPER_MAX_RUNNING_S": "3600"})
        self._write_settings()
        packages = sysconfig.get_paths()["purelib"]
        (self.path / "install").write_text(
            INSTALL.format(python=sys.executable, packages=packages, version=sysconfig.get_python_version())
        )
        (self.path / "install").chmod(0o700)

    def _make_repository(self) -> str:
        environment = self.place.environment
        with tempfile.TemporaryDirectory(dir=self.place.world) as folder:
            work = Path(folder)
            for name in CODE:
                source, target = ROOT / name, work / name
                if source.is_dir():
                    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, target)
            (work / ".orchestrator.yml").write_text(REPOSITORY_YML.format(home=self.path, health=self.health))
            git(work, environment, "init", "-q", "--initial-branch=main", "--template=")
            git(work, environment, "add", "-A")
            git(work, environment, "commit", "-q", "-m", "The orchestrator")
            git(work, environment, "clone", "-q", "--bare", "--template=", str(work), str(self.repository))
        return git(self.repository, environment, "rev-parse", "main")

    def _write_settings(self) -> None:
        place, timings = self.place, {**TIMINGS, "ORCH_REAPER_MAX_RUNNING_S": "3600"}
        lines = {
            "PATH": os.environ["PATH"],
            "HOME": str(place.world),
            "ORCH_DATA_DIR": str(place.data_dir),
            "ORCH_CONFIG": str(place.config),
            "ORCH_NODE": self.settings.node,
            "ORCH_PORT": str(place.ports.web),
            "ORCH_FLOWER_PORT": str(place.ports.flower),
            **timings,
        }
        (self.path / "orchestrator.env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    def install_first(self) -> None:
        """What an operator does once by hand, with the same words."""
        with tempfile.TemporaryDirectory(dir=self.place.world) as folder:
            git(self.place.world, self.place.environment, "clone", "-q", str(self.repository), folder)
            words = ["bash", "tools/deploy_self.sh", str(self.path)]
            environment = {"PATH": os.environ["PATH"], "ORCH_SHA": self.first}
            subprocess.run(words, cwd=folder, env=environment, check=True, timeout=PATIENCE_S)
        waited(lambda: self.version() == self.first, "the first version answers", self.log)

    def version(self) -> str:
        """What answers now; empty when nothing does."""
        try:
            with urllib.request.urlopen(self.health, timeout=5) as answer:
                return str(json.load(answer)["version"])
        except (OSError, urllib.error.URLError, ValueError):
            return ""

    def record(self) -> FleetRecord:
        found = read_record(record_path(self.place.data_dir))
        assert found is not None
        return found

    def processes(self) -> dict[str, ProcessIdentity]:
        """The supervisor and every service of the fleet that runs now."""
        record = self.record()
        living = {one.name: one.identity for one in record.services if one.identity is not None}
        return {"supervisor": record.supervisor, **living}

    def log(self) -> str:
        file = self.path / "up.log"
        return file.read_text()[-3000:] if file.exists() else "no up.log"

    def end(self) -> None:
        found = read_record(record_path(self.place.data_dir))
        if found is not None:
            found.supervisor.end(signal.SIGTERM, 60.0)
        assert end_leftovers(self.place) == []


def waited(reached: Callable[[], Any], what: str, log: Callable[[], str] = str, timeout_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := reached()):
        assert time.monotonic() < deadline, f"not in {timeout_s:g} s: {what}\n{log()}"
        time.sleep(0.1)
    return found


def code_of(process: ProcessIdentity) -> str:
    """The program that this process runs, by its command line; empty where it hides itself from all but root."""
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")[0].decode()
    except PermissionError:
        return ""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(make_place(tmp_path / "data", None))
    try:
        made.install_first()
        yield made
    finally:
        made.end()


@pytest.fixture
def engine(home: Home) -> Iterator[Engine]:
    made = engine_of(load_settings({**home.settings.process_environment(), "PATH": os.environ["PATH"]}))
    yield made
    made.store.engine.dispose()


def test_the_orchestrator_deploys_itself_while_three_agents_run(home: Home, engine: Engine) -> None:
    cues, data_dir = home.place.cues, home.place.data_dir
    working = [intake.add_item(engine, PROJECT, f"Work {n}", author="ann") for n in range(3)]
    waited(lambda: {one.item for one in starts_in(cues)} >= set(working), "three agents are at work", home.log)
    shims = living_shims(data_dir)
    agents = {one.run_id: identify(one.pid) for one in starts_in(cues)}
    old = home.processes()
    assert len(shims) == len(agents) == 3

    itself = intake.add_item(engine, PROJECT, "Say so", body=f"Change: {CHANGED}", author="ann")
    (cues / f"{itself}.go").touch()

    def reasons() -> str:
        return f"{rows_of(engine, 'SELECT work_item, stage, reasons FROM tasks')}\n{home.log()}"

    [(deployment, sha)] = waited(
        lambda: rows_of(engine, "SELECT id, sha FROM deployments WHERE status = 'running'"), "its deploy runs", reasons
    )
    waited(lambda: home.version() == sha, "the new version answers", reasons)
    assert sha != home.first
    waited(lambda: not any(one.lives() for one in old.values()), "every process of the old version is gone", reasons)
    new = home.processes()
    release = str(home.path / "releases" / sha)
    programs = {name: code_of(one) for name, one in new.items() if name not in ("postgres", "valkey")}
    assert [name for name, one in programs.items() if one and not one.startswith(release)] == []
    assert all(programs.values()) or os.getuid() != 0

    assert living_shims(data_dir) == shims, "the same three shims, pid and start"
    assert {one.run_id: identify(one.pid) for one in starts_in(cues) if one.item in working} == agents
    waited(
        lambda: rows_of(engine, "SELECT 1 FROM tasks WHERE stage = 'done'"),
        "the item that deployed it is done",
        reasons,
    )
    [(status, seen)] = rows_of(engine, "SELECT status, observed_sha FROM deployments WHERE id = %s", deployment)
    assert (status, seen) == ("succeeded", sha)
    ledger = "SELECT e.kind, e.status FROM effects e JOIN tasks t ON t.id = e.task_id WHERE t.work_item = %s"
    assert ("start_deploy_production", "confirmed") in rows_of(engine, ledger, itself)

    for item in working:
        (cues / f"{item}.go").touch()
    over = (
        "SELECT 1 FROM events WHERE kind = 'stage.committed' AND work_item = ANY(%s) AND detail->>'to' = 'architecture'"
    )
    waited(lambda: len(rows_of(engine, over, working)) == 3, "each was finished and taken on", reasons)
    found = rows_of(
        engine,
        """SELECT t.work_item, j.status, r.exit_reason, r.exit_code, r.outcome FROM agent_runs r
        JOIN jobs j ON j.id = r.job_id JOIN tasks t ON t.id = j.task_id
        WHERE j.stage = 'analysis' AND t.work_item = ANY(%s)""",
        working,
    )
    assert sorted(found) == [(item, "finished", "exited", 0, "verdict") for item in sorted(working)]
    steps = Counter(row[0] for row in rows_of(engine, over.replace("SELECT 1", "SELECT work_item"), working))
    assert steps == dict.fromkeys(working, 1)
    print(
        f"\nold {home.first[:12]}: {code_of_dead(old)}\nnew {sha[:12]}: agents worker {new['agents'].pid} runs"
        f" {code_of(new['agents'])}\nthree shims {sorted(shims.values())} lived through it;"
        f" deployment {deployment} {status}"
    )


def code_of_dead(processes: dict[str, ProcessIdentity]) -> str:
    return ", ".join(f"{name} {one.pid} gone" for name, one in processes.items() if not one.lives())
