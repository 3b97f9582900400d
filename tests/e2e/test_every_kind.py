"""kill -9 of each kind of process while the demo's story runs: every item still ends as it was written."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy.exc import DBAPIError

from orchestrator.demo import run
from orchestrator.demo.chaos import Kill, Moment
from orchestrator.demo.progress import Progress
from orchestrator.engine.context import Engine
from orchestrator.fleet import Fleet
from orchestrator.fleet.identity import ProcessIdentity, identify

pytestmark = [pytest.mark.fleet, pytest.mark.soak, pytest.mark.timeout(900)]

_PAUSE_S = 2.5
_FLEETING = ("deployer", "agent", "shim")
KINDS = (
    "agent",
    "shim",
    "deployer",
    "edges.1",
    "agents.1",
    "web",
    "beat",
    "flower",
    "edges",
    "intake",
    "sweeps",
    "agents",
    "valkey",
    "postgres",
    "supervisor",
)
"""Every kind of process of a fleet: parents by name, a child by its number, and what is nobody's child."""


class EveryKind:
    """Stands in for ``Chaos``: kills one process of each kind, one after the other."""

    def __init__(self, engine: Engine, fleet: Fleet, seed: int) -> None:
        self._engine, self._fleet = engine, fleet
        left = list(KINDS)
        random.Random(seed).shuffle(left)  # repeatable on purpose
        # What lives for seconds only is taken as soon as there is one; the supervisor last.
        order = {kind: place for place, kind in enumerate(_FLEETING)}
        self._left = sorted(left, key=lambda kind: order.get(kind, len(order) + (kind == "supervisor")))
        self._began = time.monotonic()
        self._not_before = self._began + _PAUSE_S
        self.kills: list[Kill] = []
        self.unspent: tuple[Kill, ...] = ()
        """What ``Chaos`` did not get to; here the test itself compares the kinds."""

    def tick(self) -> Kill | None:
        if not self._left or time.monotonic() < self._not_before:
            return None
        struck = self._strike()
        if struck is None:
            return None
        kind, victim = struck
        self._left.remove(kind)
        self._after(kind)
        self._not_before = time.monotonic() + _PAUSE_S
        at = round(time.monotonic() - self._began, 1)
        self.kills.append(Kill(Moment.ANY, kind, "", "", (victim.pid,), at))  # type: ignore[arg-type]  # a word of ours
        return self.kills[-1]

    def _strike(self) -> tuple[str, ProcessIdentity] | None:
        """Kill the first that is left and lives now."""
        for kind in self._left:
            pid = self._find(kind)
            victim = None if pid is None else identify(pid)
            if victim is not None and victim.send(signal.SIGKILL):
                return kind, victim
        return None

    def _find(self, kind: str) -> int | None:
        if kind in ("shim", "agent"):
            return self._of_a_run(kind)
        if kind == "deployer":
            return self._scalar("SELECT owner_pid FROM deployments WHERE status = 'running' LIMIT 1")
        return self._fleet.pids().get(kind)

    def _of_a_run(self, kind: str) -> int | None:
        for record in self._engine.runs_dir.glob("*/shim.json"):
            if (record.parent / "exit.json").exists():
                continue
            written = json.loads(record.read_text())
            return int(written["pid"] if kind == "shim" else written["agent_pgid"])
        return None

    def _scalar(self, statement: str) -> int | None:
        with self._engine.store.transaction() as connection:
            found = connection.exec_driver_sql(statement).scalar_one_or_none()
        return None if found is None else int(found)

    def _after(self, kind: str) -> None:
        if kind == "valkey":  # its data is lost too
            for dump in self._engine.runs_dir.parent.rglob("dump.rdb"):
                dump.unlink(missing_ok=True)
        if kind == "supervisor":
            self._fleet.kill()
            self._fleet.start()
        if kind in ("postgres", "supervisor"):
            _until(self._answers, 60)

    def _answers(self) -> bool:
        try:
            return self._scalar("SELECT 1") == 1
        except DBAPIError:
            return False


def _until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("seed", [1])
def test_the_story_ends_as_written_whichever_process_is_killed(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "Chaos", EveryKind)
    monkeypatch.setattr(run, "PATIENCE_S", 500.0)
    told = StringIO()
    progress = Progress(Console(file=told, highlight=False))
    result = run.tell_story(run.Options(tmp_path / "demo", seed=seed), progress, lambda _: None, lambda _: None)
    killed = {str(kill.victim) for kill in result.kills}
    # A reviewer that was killed after it had noted its review passes the next time: that item is not sent back then.
    problems = [one for one in result.problems if "came back to development" not in one]
    assert (problems, result.left_over) == ([], ()), told.getvalue()[-4000:]
    assert killed == set(KINDS)
