"""What an agent is told and what it prints, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Orch
from tests.engine.real_engine import World


def run_of(world: World, orch: Orch) -> str:
    """The item DEMO-1 with an agent in analysis; the run's id."""
    orch("add", "DEMO", "Say hello", "--body", "Politely.")
    world.run_until(lambda: bool(world.rows("SELECT 1 FROM agent_runs WHERE exited_at IS NOT NULL")), timeout_s=100)
    [[run_id]] = world.rows("SELECT run_id FROM agent_runs ORDER BY id LIMIT 1")
    return str(run_id)


def test_the_prompt_is_shown_as_it_would_be_sent(orch: Orch, world: World) -> None:
    orch("add", "DEMO", "Say hello", "--body", "Politely.")
    world.run_until(lambda: bool(world.rows("SELECT 1 FROM jobs")))
    shown = orch("prompt", "DEMO-1")
    assert shown.code == 0, shown.err
    assert "> Politely." in shown.out
    assert "orch verdict put" in shown.out


def test_the_prompt_has_the_words_that_the_base_branch_has_for_the_stage(orch: Orch, world: World) -> None:
    clone = world.repository.parent / "words"
    world.git("clone", "-q", str(world.repository), str(clone))
    own = clone / ".orchestrator" / "prompts" / "analysis.md"
    own.parent.mkdir(parents=True)
    own.write_text("Ask thrice about $work_item.\n")
    for command in (["add", "-A"], ["commit", "-qm", "Our own words"], ["push", "-q", "origin", "HEAD:main"]):
        world.git("-C", str(clone), *command)
    orch("add", "DEMO", "Say hello")
    world.run_until(lambda: bool(world.rows("SELECT 1 FROM jobs")))
    assert "Ask thrice about DEMO-1." in orch("prompt", "DEMO-1").out


def test_what_an_agent_printed_is_shown_and_followed_to_the_end(orch: Orch, world: World) -> None:
    run_id = run_of(world, orch)
    output = Path(world.engine.runs_dir / run_id / "stdout.log")
    output.write_text("one\ntwo\nthree")
    world.change("UPDATE tasks SET parked_reason = 'x', parked_at = now()")
    world.change("DELETE FROM agent_runs WHERE run_id <> %s", run_id)
    assert orch("output", "DEMO-1").out.splitlines() == ["one", "two", "three"]
    lines = orch("output", "DEMO-1", "--json", "-f").out.splitlines()
    assert [json.loads(line)["line"] for line in lines] == ["one", "two", "three"]


def test_the_log_of_an_item_follows_its_agent_too(orch: Orch, world: World) -> None:
    run_id = run_of(world, orch)
    (world.engine.runs_dir / run_id / "stdout.log").write_text("thinking\n")
    world.change("DELETE FROM agent_runs WHERE run_id <> %s", run_id)
    world.change("UPDATE jobs SET status = 'finished', finished_at = now() WHERE finished_at IS NULL")
    world.change("SET session_replication_role = replica; UPDATE tasks SET stage = 'done', parked_at = NULL")
    shown = orch("log", "DEMO-1", "-f")
    assert "  | thinking" in shown.out.splitlines()
    assert "  | thinking" not in orch("log", "DEMO-1").out.splitlines()
