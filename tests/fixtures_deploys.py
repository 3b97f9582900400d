"""A world for tests of deploys: a repository, environments with real services, rows, and detached deployers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from orchestrator.adapters.deployers.command import CommandDeployer
from orchestrator.adapters.host import this_host
from orchestrator.domain.configuration import DeploySpec
from orchestrator.domain.views import DeploymentStatus
from orchestrator.ports import DeployRequest, Observation
from orchestrator.store import deployments
from orchestrator.store.database import Store, connect
from orchestrator.store.deployments import Deployment
from tests.processes import is_running, until

NODE = "deploy-node"
PROJECT = "DEMO"
_HERE = Path(__file__).parent
_PROGRAM = (sys.executable, str(_HERE / "deployer_process.py"))
_GIT = ("git", "-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class DeployWorld:
    """Rows in a real database, a bare repository with two commits on ``main``, and one service an environment."""

    def __init__(self, base: Path, database_url: str) -> None:
        self.base = base
        self.database_url = database_url
        self.data_dir = base / "data"
        self.state = base / "state"
        self.state.mkdir()
        self.host = this_host(NODE)
        self.store: Store = connect(database_url, pool_size=2)
        self.remote = base / "remote.git"
        self._ports: dict[str, int] = {}
        self._items = 0
        self._make_repository()

    # --- the repository

    def _make_repository(self) -> None:
        clone = self.base / "clone"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", self.remote], check=True)
        subprocess.run(["git", "init", "-q", "-b", "main", clone], check=True)
        self.first = self._commit(clone, "first")
        self.second = self._commit(clone, "second")
        self._git(clone, "push", "-q", str(self.remote), "main")
        self._git(clone, "checkout", "-q", "-b", "feature")
        self.unmerged = self._commit(clone, "unmerged")
        self._git(clone, "push", "-q", str(self.remote), "feature")

    def _commit(self, clone: Path, content: str) -> str:
        (clone / "app.txt").write_text(content)
        self._git(clone, "add", "-A")
        self._git(clone, "commit", "-q", "-m", content)
        return self._git(clone, "rev-parse", "HEAD")

    def _git(self, where: Path, *arguments: str) -> str:
        done = subprocess.run([*_GIT, "-C", where, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    # --- environments

    def port(self, environment: str) -> int:
        return self._ports.setdefault(environment, free_port())

    def spec(self, environment: str = "staging", *, timeout_s: int = 20, health_timeout_s: int = 10) -> DeploySpec:
        port = self.port(environment)
        program = (sys.executable, "-I", "-S", str(_HERE / "deployed_service.py"))
        return DeploySpec(
            command=(*program, "start", str(port), str(self.state)),
            health_url=f"http://127.0.0.1:{port}/health",
            timeout_s=timeout_s,
            health_timeout_s=health_timeout_s,
        )

    def runs(self) -> list[str]:
        """A line for each time the command began: environment, sha, deployment."""
        file = self.state / "runs"
        return file.read_text().splitlines() if file.exists() else []

    def command_pid(self) -> int:
        """The command that runs now, as soon as it does."""
        file = self.state / "command.pid"
        return int(until(lambda: file.exists() and file.read_text()))

    # --- rows

    def task(self, item: str | None = None) -> int:
        self._items += 1
        values = {"item": item or f"{PROJECT}-{self._items}", "project": PROJECT}
        statement = """INSERT INTO tasks (work_item, project, title, branch) VALUES (:item, :project, 't', 'b')
          RETURNING id"""
        with self.store.transaction() as connection:
            return int(connection.execute(text(statement), values).scalar_one())

    def request(self, environment: str = "staging", sha: str | None = None, *, kind: str = "deploy") -> Deployment:
        """A new task's request."""
        task_id = self.task()
        with self.store.transaction("test") as connection:
            return deployments.request(
                connection,
                task_id=task_id,
                visit=5,
                project=PROJECT,
                environment=environment,
                sha=sha or self.first,
                image="demo:1",
                kind=kind,
            )

    def row(self, deployment: Deployment) -> Deployment:
        with self.store.transaction() as connection:
            found = deployments.get(connection, deployment.id)
        assert found is not None
        return found

    def facts_at(self, deployment: Deployment) -> datetime:
        with self.store.transaction() as connection:
            statement = text("SELECT facts_at FROM tasks WHERE id = :t")
            found: datetime = connection.execute(statement, {"t": deployment.task_id}).scalar_one()
        return found

    def age(self, deployment: Deployment, column: str, hours: int = 9) -> None:
        statement = f"UPDATE deployments SET {column} = {column} - make_interval(hours => {hours}) WHERE id = :id"
        with self.store.transaction() as connection:
            connection.execute(text(statement), {"id": deployment.id})

    # --- processes

    def deployer(
        self, failpoints: str = "", data_dir: Path | None = None, program: tuple[str, ...] = _PROGRAM
    ) -> CommandDeployer:
        place = data_dir or self.data_dir
        place.mkdir(exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.base),
            "PYTHONPATH": str(_HERE.parent),
            "DEPLOY_TEST_REMOTE": str(self.remote),
            "ORCH_DATABASE_URL": self.database_url,
            "ORCH_DATA_DIR": str(place),
            "ORCH_NODE": NODE,
            "ORCH_API_TOKEN": "a-secret-of-ours",
            **({"ORCH_FAILPOINTS": failpoints} if failpoints else {}),
        }
        return CommandDeployer(place, self.host, environment, program)

    def launch(
        self,
        deployment: Deployment,
        spec: DeploySpec | None = None,
        *,
        failpoints: str = "",
        data_dir: Path | None = None,
        program: tuple[str, ...] = _PROGRAM,
    ) -> None:
        with self.store.transaction() as connection:
            deployments.mark_launched(connection, deployment.id)
        row, spec = deployment, spec or self.spec(deployment.environment)
        request = DeployRequest(row.id, row.project, row.environment, row.sha, row.image, spec)
        self.deployer(failpoints, data_dir, program).launch(request)

    def observe(self, environment: str) -> Observation:
        return self.deployer().observe(self.spec(environment))

    def until_status(self, deployment: Deployment, *statuses: DeploymentStatus) -> Deployment:
        return until(lambda: (row := self.row(deployment)).status in statuses and row, timeout_s=30) or deployment

    def until_deployer_is_gone(self, deployment: Deployment) -> Deployment:
        """The row, once its deployer came and died."""
        row = until(lambda: (row := self.row(deployment)).owner is not None and row, timeout_s=30)
        assert row and row.owner is not None
        pid = row.owner.pid
        until(lambda: not is_running(pid), timeout_s=30)
        return self.row(deployment)

    def log(self, deployment: Deployment, data_dir: Path | None = None) -> str:
        file = (data_dir or self.data_dir) / "deploys" / f"{deployment.id}.log"
        return file.read_text() if file.exists() else ""

    def until_log_says(self, deployment: Deployment, words: str, data_dir: Path | None = None) -> None:
        until(lambda: words in self.log(deployment, data_dir), timeout_s=30)

    def nudges(self) -> list[str]:
        file = self.data_dir / "nudges"
        return file.read_text().splitlines() if file.exists() else []

    # --- the end

    def end(self) -> None:
        """Nothing of this test runs on, however it went."""
        with self.store.transaction() as connection:
            ids = connection.execute(text("SELECT id FROM deployments")).scalars().all()
            rows = [deployments.get(connection, one) for one in ids]
        for row in rows:
            if row and row.owner:
                self.host.kill(row.owner, 5)
        for file in self.state.glob("*.pid"):
            # Each alone: one that has ended must not keep the others running.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
                pid = int(file.read_text())
                if str(self.state).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
        self.store.engine.dispose()


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[DeployWorld]:
    world = DeployWorld(tmp_path, database_url)
    yield world
    world.end()
