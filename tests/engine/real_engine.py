"""A whole engine on real parts (Postgres, git, processes) with nudges that the test delivers by itself."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.bootstrap import build_engine
from orchestrator.domain.stages import Actor
from orchestrator.engine import agents, drive, finishing, reaper, reconciler, stopping
from orchestrator.engine.context import Engine
from orchestrator.engine.finalizer import finalize_deploys, finalizer_parts
from orchestrator.settings import Settings, Timings, load_settings

AGENT = Path(__file__).parent / "scripted_agent.py"

REPOSITORY_YML = """\
test: ["{python}", "-m", "unittest", "discover", "-q"]
gates:
  ci: {{source: run}}
"""

OPERATOR_YML = """\
projects:
  - key: DEMO
    repository: {repository}
    concurrency: 2
    agents:
{agents}
"""


@dataclass
class HeldNudges:
    """Keeps messages until the test delivers them; each may be delivered twice, late, or never."""

    held: deque[tuple[str, tuple[object, ...]]] = field(default_factory=deque)

    def drive(self, task_id: int, work_item: str, actor: str) -> None:
        self.held.append(("drive", (task_id, actor)))

    def launch_agent(self, node: str, job_id: int, work_item: str) -> None:
        self.held.append(("launch", (job_id,)))

    def stop_agent(self, node: str, job_id: int, work_item: str) -> None:
        self.held.append(("stop", (job_id,)))

    def finish_job(self, node: str, job_id: int, work_item: str) -> None:
        self.held.append(("finish", (job_id,)))

    def finalize_deploys(self) -> None:
        self.held.append(("finalize", ()))


@dataclass
class World:
    """The engine, its messages, and the repository it works on. ``environment`` builds the same engine elsewhere."""

    engine: Engine
    nudges: HeldNudges
    repository: Path
    settings: Settings
    environment: Mapping[str, str] = field(default_factory=dict)

    def deliver_all(self) -> None:
        """Deliver messages until none is left."""
        while self.nudges.held:
            self.deliver_one()

    def deliver_one(self) -> None:
        name, arguments = self.nudges.held.popleft()
        deliveries: dict[str, Callable[..., object]] = {
            "drive": lambda task, actor: drive.drive(self.engine, task, Actor(actor)),
            "launch": lambda job: agents.launch_agent(self.engine, job),
            "stop": lambda job: stopping.stop_agent(self.engine, job),
            "finish": lambda job: finishing.finish_job(self.engine, job),
            "finalize": lambda: finalize_deploys(finalizer_parts(self.engine)),
        }
        deliveries[name](*arguments)

    def sweep(self) -> None:
        """One pass of everything that beat runs."""
        reaper.reap(self.engine)
        reconciler.reconcile(self.engine)
        finalize_deploys(finalizer_parts(self.engine))

    def run_until(self, reached: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
        """Deliver and sweep until ``reached``; fails the test with what the tasks wait for."""
        deadline = time.monotonic() + timeout_s
        while not reached():
            assert time.monotonic() < deadline, f"not reached in {timeout_s} s: {self.reasons()}"
            self.deliver_all()
            self.sweep()
            self.deliver_all()
            time.sleep(0.02)

    def reasons(self) -> list[str]:
        with self.engine.store.transaction() as connection:
            rows = connection.exec_driver_sql("SELECT work_item, stage, reasons FROM tasks ORDER BY id").all()
        return [f"{row.work_item} at {row.stage}: {row.reasons}" for row in rows]

    def until(self, reached: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
        """Wait for what processes outside do; nothing is delivered meanwhile."""
        deadline = time.monotonic() + timeout_s
        while not reached():
            assert time.monotonic() < deadline, f"not reached in {timeout_s} s: {self.reasons()}"
            time.sleep(0.05)

    def stage(self, work_item: str) -> str:
        with self.engine.store.transaction() as connection:
            found = connection.exec_driver_sql(
                "SELECT stage FROM tasks WHERE work_item = %s ORDER BY id DESC LIMIT 1", (work_item,)
            ).scalar_one_or_none()
        return str(found)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self.engine.store.transaction() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement, values)]

    def change(self, statement: str, *values: object) -> None:
        with self.engine.store.transaction() as connection:
            connection.exec_driver_sql(statement, values)

    def git(self, *arguments: str) -> str:
        return git(self.repository, *arguments)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


STAGES = ("analysis", "architecture", "development", "review", "testing")


def make_world(
    tmp_path: Path,
    database_url: str,
    repository_yml: str = REPOSITORY_YML,
    *,
    stages: Sequence[str] = STAGES,
    **settings: str,
) -> World:
    """A project DEMO with a sample repository, an agent that does what its work item's body says, and an engine."""
    repository = make_repository(tmp_path, repository_yml)
    # A checkout may lie where a sandbox hides it; what a sandbox does is tested with the agents' own tests.
    spec = f'{{runtime: command, sandbox: off, command: ["{sys.executable}", "{AGENT}", "{{stage}}"]}}'
    lines = "\n".join(f"      {stage}: {spec.replace('{stage}', stage)}" for stage in stages)
    config = tmp_path / "orchestrator.yml"
    config.write_text(OPERATOR_YML.format(repository=repository, agents=lines))
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "ORCH_DATABASE_URL": database_url,
        "ORCH_DATA_DIR": str(tmp_path / "data"),
        "ORCH_CONFIG": str(config),
        "ORCH_NODE": "here",
        **settings,
    }
    loaded = load_settings(environment)
    nudges = HeldNudges()
    return World(build_engine(loaded, nudges, pool_size=4), nudges, repository, loaded, environment)


def make_repository(tmp_path: Path, repository_yml: str) -> Path:
    work, bare = tmp_path / "work", tmp_path / "demo.git"
    work.mkdir()
    git(work, "init", "-q")
    (work / ".orchestrator.yml").write_text(repository_yml.format(python=sys.executable))
    (work / "tests").mkdir()
    (work / "tests" / "__init__.py").write_text("")
    (work / "tests" / "test_first.py").write_text(
        "import unittest\n\n\nclass First(unittest.TestCase):\n    def test_one(self):\n"
        "        self.assertEqual(1, 1)\n"
    )
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "Begin")
    git(tmp_path, "clone", "-q", "--bare", str(work), str(bare))
    return bare


def with_timings(world: World, **changes: float) -> World:
    """The same world with other timings."""
    return replace(world, engine=replace(world.engine, timings=_with(world.engine.timings, changes)))


def _with(timings: Timings, changes: Mapping[str, float]) -> Timings:
    return replace(timings, **changes)  # type: ignore[arg-type]  # one of them is a whole number
