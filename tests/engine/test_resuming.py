"""An agent that was cut off goes on in its session, with the home that holds it; one that ended does not."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.engine import intake
from tests.adapters.agents.recorded import recordings
from tests.engine.real_engine import World, make_world

CLI = Path(__file__).parents[1] / "adapters" / "agents" / "fake_cli.py"
RUNS = "SELECT run_id, session_id, outcome, owner_pid FROM agent_runs ORDER BY id"


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    """Analysis is done by a fake Claude that begins its session and never ends by itself."""
    begun = [event for event in recordings("claude")["success"].stdout if isinstance(event, dict)][:2]
    (tmp_path / "play.json").write_text(json.dumps({"stdout": begun, "stderr": "", "exit": 0}))
    made = make_world(tmp_path, database_url, ORCH_REAPER_DEAD_TICKS="1")
    config = tmp_path / "orchestrator.yml"
    environment = json.dumps({"FAKE_PLAY": str(tmp_path / "play.json"), "FAKE_MANNERS": "stays"})
    command = json.dumps([sys.executable, "-I", "-S", str(CLI)])
    agent = f"      analysis: {{runtime: claude, sandbox: off, command: {command}, environment: {environment}}}\n"
    config.write_text(re.sub(r" +analysis: .*\n", lambda _: agent, config.read_text()))
    yield made
    made.engine.store.engine.dispose()
    for run_dir in made.engine.runs_dir.iterdir():
        made.engine.agents.stop(run_dir, 0.1)


def up(world: World, runs: int) -> list[tuple[object, ...]]:
    """Wait until so many runs were started and the last one has begun its session."""
    intake.add_item(world.engine, "DEMO", "Say hello", author="ann") if runs == 1 else None

    def there() -> bool:
        rows = world.rows(RUNS)
        last = world.engine.runs_dir / str(rows[-1][0]) / "stdout.log" if rows else None
        return len(rows) == runs and last is not None and last.exists() and "session_id" in last.read_text()

    world.run_until(there, timeout_s=100)
    return world.rows(RUNS)


def test_a_run_that_was_lost_is_gone_on_with_in_its_session_and_home(world: World) -> None:
    [(run_id, _, _, shim)] = up(world, 1)
    first = world.engine.runs_dir / str(run_id)
    (first / "home" / "memory").write_text("what it knew")
    session = world.engine.agents.so_far(first, "claude").session_id
    os.kill(int(str(shim)), signal.SIGKILL)
    runs = up(world, 2)
    assert [row[1] for row in runs] == [None, session]
    worktree = next(world.engine.runs_dir.parent.rglob("argv.json"))
    argv = json.loads(worktree.read_text())
    assert argv[argv.index("--resume") + 1] == session
    assert (world.engine.runs_dir / str(runs[1][0]) / "home" / "memory").read_text() == "what it knew"
    assert not (first / "home").exists()


def test_a_session_that_is_gone_is_not_tried_twice(world: World, tmp_path: Path) -> None:
    [(_, _, _, shim)] = up(world, 1)
    unknown = recordings("claude")["resume-unknown-stream"]
    (tmp_path / "play.json").write_text(json.dumps({"stdout": unknown.stdout, "stderr": unknown.stderr, "exit": 1}))
    config = tmp_path / "orchestrator.yml"
    config.write_text(config.read_text().replace('"FAKE_MANNERS": "stays"', '"FAKE_MANNERS": ""'))
    os.kill(int(str(shim)), signal.SIGKILL)
    world.run_until(lambda: len(world.rows(RUNS)) >= 3, timeout_s=100)
    resumed = [row[1] is not None for row in world.rows(RUNS)]
    assert resumed[:3] == [False, True, False]
    assert world.rows(RUNS)[1][2] == "interrupted"
