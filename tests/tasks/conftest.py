"""One real worker on real stores: every queue of one node, prefork."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from orchestrator import bootstrap
from orchestrator.domain.stages import Actor
from orchestrator.settings import load_settings
from orchestrator.store import tasks
from orchestrator.store.database import Store
from orchestrator.store.tasks import NewTask, TaskRef
from tests.processes import until

NODE = "n1"
_WORKER = ("worker", "-n", f"all@{NODE}", "-Q", f"edges,intake,sweeps,agents.{NODE}", "-c", "2", "--pool=prefork")
_QUIET = ("--without-gossip", "--without-mingle", "--loglevel=INFO")


@dataclass(slots=True)
class Worker:
    """A Celery worker of this test, and the command line of the same app."""

    environ: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self._celery(*_WORKER, *_QUIET), env=self.environ, cwd=self.log.parent, stdout=log, stderr=log
            )

    def wait_ready(self) -> None:
        until(lambda: " ready." in self.text(), 60.0)

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        """End it with its children, in whatever state it is."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def celery(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `celery -A tasks …` as a person would."""
        return subprocess.run(
            self._celery(*words), env=self.environ, cwd=self.log.parent, text=True, capture_output=True, timeout=60
        )

    def ask(self, command: str, *words: str) -> Any:
        """What the worker answers to an inspect or control command, asked without the slow command line."""
        arguments = {"words": list(words)} if words else {}
        with bootstrap.build_nudges(load_settings(self.environ)).app as app:
            answers = app.control.broadcast(
                command, arguments=arguments, destination=[f"all@{NODE}"], reply=True, limit=1, timeout=20
            )
        assert answers, self.text()
        return answers[0][f"all@{NODE}"]

    @staticmethod
    def _celery(*words: str) -> list[str]:
        return [sys.executable, "-m", "celery", "-A", "tasks", *words]


@pytest.fixture
def environ(database_url: str, broker_url: str, tmp_path: Path) -> dict[str, str]:
    """The environment of the fleet's processes."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "ORCH_DATA_DIR": str(tmp_path / "data"),
        "ORCH_CONFIG": str(tmp_path / "orchestrator.yml"),
        "ORCH_NODE": NODE,
        "ORCH_DATABASE_URL": database_url,
        "ORCH_BROKER_URL": broker_url,
        "ORCH_LOG_FORMAT": "json",
    }


@pytest.fixture
def worker(environ: dict[str, str], tmp_path: Path) -> Iterator[Worker]:
    """Not started yet, so that a test may change its environment; ended with the test."""
    (tmp_path / "data").mkdir()
    (tmp_path / "orchestrator.yml").write_text("projects: []\n")
    made = Worker(environ, tmp_path / "worker.log")
    yield made
    made.stop()


@pytest.fixture
def store(engine: sqlalchemy.Engine) -> Store:
    return Store(engine)


def start_task(store: Store, key: str = "D-1") -> TaskRef:
    """A task of a project that no configuration names: a drive of it ends with that reason."""
    with store.transaction(Actor.OPERATOR) as connection:
        begun = tasks.start(connection, NewTask(key, "D", "title", "", "ann", 0, ()))
    assert isinstance(begun, TaskRef)
    return begun
