"""A verdict that comes after its run was taken away is written down with its word, and moves nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters import procfs
from orchestrator.adapters.run_directory import marker_of
from orchestrator.engine import finishing, intake, operator, reaper
from tests.engine.real_engine import World, make_world, with_timings
from tests.processes import is_running, until

IGNORED = "SELECT detail->>'verdict', detail->>'why' FROM events WHERE kind = 'verdict.ignored'"


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    made = make_world(tmp_path, database_url, 'test: ["true"]\n', ORCH_STOP_GRACE_S="5")
    yield made
    for (run_id,) in made.rows("SELECT run_id FROM agent_runs"):
        procfs.sweep(procfs.Traces(marker_of(run_id)), 5.0)


def started(world: World, body: str, sign: str) -> tuple[str, Path]:
    """An item whose agent in analysis has come so far that it left ``sign`` in its worktree."""
    item = intake.add_item(world.engine, "DEMO", "Add a value", body=body, author="ann")
    world.deliver_all()
    worktree = world.engine.project("DEMO").workspaces.path_of(f"orch/{item}")
    world.until((worktree / sign).exists)
    return item, worktree


def test_a_verdict_filed_when_stop_asked_for_the_end_is_noted_and_nothing_moves(world: World) -> None:
    item, _ = started(world, "LATE", "waits")
    operator.stop(world.engine, item, "ann")
    world.run_until(lambda: bool(world.rows("SELECT 1 FROM tasks WHERE stop_acknowledged_at IS NOT NULL")))
    assert world.rows(IGNORED) == [("pass", "STOP was requested")]
    assert world.rows("SELECT status, outcome, verdict, settled_at FROM jobs") == [("cancelled", "stopped", None, None)]
    path = "SELECT detail->>'to' FROM events WHERE kind = 'stage.committed' ORDER BY id"
    assert [row[0] for row in world.rows(path)] == ["cancelled"]
    comments = " ".join(str(row[0]) for row in world.rows("SELECT text FROM local_comments"))
    assert "verdict (pass) came too late and was ignored" in comments


def test_a_verdict_of_a_run_that_was_ended_at_the_ceiling_is_noted_once(world: World) -> None:
    _, worktree = started(world, "LATE", "waits")
    [(run_id, job)] = world.rows("SELECT run_id, job_id FROM agent_runs")
    hurried = with_timings(world, reaper_max_running_s=0.01)
    assert reaper.reap(hurried.engine).counts["tier 3"] == 1
    assert (worktree / ".orchestrator" / "verdict.json").exists(), "the agent answered when it was asked to end"
    assert world.rows(IGNORED) == [("pass", "the job is finished")]
    finishing.finish_job(world.engine, job)
    assert world.rows(IGNORED) == [("pass", "the job is finished")]
    assert world.rows("SELECT status, outcome, verdict, settled_at FROM jobs WHERE id = %s", job) == [
        ("finished", "killed", None, None)
    ]
    assert world.rows("SELECT stage, stage_seq FROM tasks") == [("analysis", 0)]
    assert (world.engine.runs_dir / run_id / "home").is_dir(), "the next run may go on with its session"


def test_a_run_whose_shim_died_leaves_nobody_behind_and_its_verdict_is_noted(world: World) -> None:
    _, worktree = started(world, "LEAVES STAYS", "stayed")
    stray = int((worktree / "left").read_text())
    [(run_id, job, shim)] = world.rows("SELECT run_id, job_id, owner_pid FROM agent_runs")
    os.kill(shim, signal.SIGKILL)
    until(lambda: not is_running(shim), 30)
    assert is_running(stray), "a session of its own outlives shim and agent"
    for _ in range(2):
        reaper.reap(world.engine)
    assert not is_running(stray)
    assert world.rows(IGNORED) == [("pass", "the job is lost")]
    [(evidence,)] = world.rows("SELECT detail->>'evidence' FROM events WHERE kind = 'job.reaped'")
    assert f"pid {stray} (sleep)" in evidence
    finishing.finish_job(world.engine, job)
    assert (world.engine.runs_dir / run_id / "home").is_dir(), "the next run may go on with its session"
    assert world.rows("SELECT stage, stage_seq FROM tasks") == [("analysis", 0)]
    world.run_until(lambda: world.stage("DEMO-1") != "analysis")
    found = world.rows("SELECT status, verdict IS NULL FROM jobs WHERE stage = 'analysis' ORDER BY id")
    assert found == [("lost", True), ("finished", False)], "the second run's verdict moved it, not the first one's"


def test_a_verdict_written_after_the_reaper_looked_is_noted_before_the_next_run_deletes_it(world: World) -> None:
    _, worktree = started(world, "STAYS", "stayed")
    verdict = worktree / ".orchestrator" / "verdict.json"
    kept = verdict.read_bytes()
    verdict.unlink()
    [(shim,)] = world.rows("SELECT owner_pid FROM agent_runs")
    os.kill(shim, signal.SIGKILL)
    until(lambda: not is_running(shim), 30)
    for _ in range(2):
        reaper.reap(world.engine)
    assert world.rows(IGNORED) == []
    verdict.write_bytes(kept)
    world.run_until(lambda: len(world.rows("SELECT 1 FROM agent_runs")) > 1)
    assert world.rows(IGNORED) == [("pass", "the job is lost")]
