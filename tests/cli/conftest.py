"""The command line in this process, on this test's own database and configuration."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from orchestrator.cli import run
from orchestrator.store import tasks
from orchestrator.store.database import Store
from orchestrator.store.tasks import NewTask, TaskRef
from tests.engine.real_engine import World, make_world


@dataclass(frozen=True, slots=True)
class Answer:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Orch = Callable[..., Answer]


@pytest.fixture
def orch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Orch]:
    """Runs `orch <arguments>`. No setting of the machine reaches it; ``tmp_path`` is where it runs."""
    for name in [one for one in os.environ if one.startswith("ORCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ORCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = list(root.handlers), root.level

    def call(*arguments: str) -> Answer:
        capsys.readouterr()
        code = run(arguments)
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    yield call
    root.handlers, sys.excepthook = handlers, hook
    root.setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.fixture
def world(orch: Orch, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A configured project DEMO on this test's database; nobody listens at its broker."""
    made = make_world(tmp_path, database_url)
    monkeypatch.setenv("ORCH_DATABASE_URL", database_url)
    monkeypatch.setenv("ORCH_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("ORCH_CONFIG", str(tmp_path / "orchestrator.yml"))
    monkeypatch.setenv("ORCH_NODE", "here")
    yield made
    made.engine.store.engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(engine)


def start(store: Store, key: str = "DEMO-1", title: str = "A title") -> TaskRef:
    """Begin a passage without any tracker."""
    with store.transaction("test") as connection:
        begun = tasks.start(connection, NewTask(key, "DEMO", title, "", "ann", 0, ()))
    assert isinstance(begun, TaskRef)
    return begun


def change(store: Store, statement: str, **values: object) -> None:
    """Change a row behind everybody's back, past the triggers."""
    with store.engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(statement), values)
