"""Drain: a node takes nothing new, its agents finish, and what waits for it says so; with real agents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters import procfs
from orchestrator.adapters.run_directory import marker_of
from orchestrator.engine import intake, nodes, operator
from orchestrator.engine.agents import launch_agent
from tests.engine.real_engine import World, make_world
from tests.processes import is_running

RUNS = "SELECT t.work_item, j.stage FROM agent_runs r JOIN jobs j ON j.id = r.job_id JOIN tasks t ON t.id = j.task_id"
WAITS = "every node takes nothing new"


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    made = make_world(tmp_path, database_url, 'test: ["true"]\n')
    nodes.beat(made.engine)
    yield made
    for (run_id,) in made.rows("SELECT run_id FROM agent_runs"):
        procfs.sweep(procfs.Traces(marker_of(run_id)), 5.0)


def add(world: World, key: str, body: str = "") -> str:
    return intake.add_item(world.engine, "DEMO", "Add a value", body=body, author="ann", key=key)


def why(world: World, item: str) -> str:
    return str(world.rows("SELECT reasons FROM tasks WHERE work_item = %s", item)[0][0])


def test_a_drained_node_starts_nothing_and_its_agents_finish(world: World, tmp_path: Path) -> None:
    go = tmp_path / "go"
    working = add(world, "DEMO-1", f"WAIT-FOR {go}")
    world.deliver_all()
    [(shim,)] = world.rows("SELECT owner_pid FROM agent_runs")
    operator.drain(world.engine, "here", "ann")
    waiting = add(world, "DEMO-2")
    world.run_until(lambda: WAITS in why(world, waiting))
    assert is_running(shim), "its agent goes on"
    go.touch()
    world.run_until(lambda: world.stage(working) == "architecture" and WAITS in why(world, working))
    assert world.rows(RUNS) == [("DEMO-1", "analysis")], "finished and judged, and nothing new was begun"
    operator.drain(world.engine, "here", "ann", draining=False)
    world.deliver_all()  # and no sweep: what waited for it is looked at at once
    assert sorted(world.rows(RUNS))[1:] == [("DEMO-1", "architecture"), ("DEMO-2", "analysis")]


def test_a_start_that_was_on_its_way_when_the_node_was_drained_goes_to_another_one(world: World) -> None:
    item = add(world, "DEMO-1")
    while world.nudges.held[0][0] != "launch":
        world.deliver_one()
    [(job, node)] = world.rows("SELECT id, node FROM jobs")
    assert node == "here"
    operator.drain(world.engine, "here", "ann")
    launch_agent(world.engine, job)
    assert world.rows("SELECT status, node, dispatched_at FROM jobs") == [("queued", None, None)]
    assert world.rows(RUNS) == []
    world.run_until(lambda: WAITS in why(world, item))
    world.change("INSERT INTO nodes (node, boot_id, pid_ns, last_seen_at) VALUES ('far', 'b', 1, now())")
    operator.nudge(world.engine, item)
    world.run_until(lambda: world.rows("SELECT node FROM jobs") == [("far",)])
    launch_agent(world.engine, job)
    assert world.rows(RUNS) == [], "a message that comes late to the drained node starts nothing either"
