"""This node's report, and the fence of one that was declared lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.adapters.host import LinuxHost
from orchestrator.domain.ownership import ChildGroup, HeldLease, Owner
from orchestrator.engine import intake, nodes
from orchestrator.store import leases
from tests.engine.owners import acquire, owner_of
from tests.engine.real_engine import World, make_world
from tests.processes import Children, is_running, until


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> World:
    return make_world(tmp_path, database_url, 'test: ["true"]\n')


def held_by(world: World, owner: Owner) -> HeldLease:
    intake.add_item(world.engine, "DEMO", "Add a value", body="HANG", author="ann")
    return acquire(world, int(world.rows("SELECT id FROM tasks")[0][0]), owner)


def incarnation(world: World) -> int:
    return int(world.rows("SELECT incarnation FROM nodes WHERE node = 'here' AND lost_at IS NULL")[0][0])


def test_a_node_without_a_row_registers_and_ends_nothing(world: World, children: Children) -> None:
    edge = children.start()
    held_by(world, owner_of(world, edge.pid))
    assert nodes.beat(world.engine) == "node registered"
    assert is_running(edge.pid)
    assert nodes.beat(world.engine) == "node seen"


def test_a_silent_node_is_declared_lost_and_counted(world: World) -> None:
    nodes.beat(world.engine)
    world.change(
        "INSERT INTO nodes (node, boot_id, pid_ns, last_seen_at) VALUES ('far', 'b', 1, now() - interval '1 hour')"
    )
    nodes.beat(world.engine)
    assert world.rows("SELECT node FROM nodes WHERE lost_at IS NOT NULL")[0][0] == "far"
    assert world.rows("SELECT value FROM counters WHERE name = 'nodes_lost_total'")[0][0] == 1


def test_a_node_that_slept_reports_before_anybody_is_declared_lost(world: World) -> None:
    nodes.beat(world.engine)
    world.change("UPDATE nodes SET last_seen_at = now() - interval '1 hour'")
    assert nodes.beat(world.engine) == "node seen"
    assert incarnation(world) == 1


def test_a_node_that_was_declared_lost_ends_its_edges_and_commands_before_it_comes_back(
    world: World, children: Children
) -> None:
    nodes.beat(world.engine)
    edge, command = children.start(), children.start()
    held = held_by(world, owner_of(world, edge.pid))
    with world.engine.store.transaction() as connection:
        leases.set_child(connection, held, ChildGroup(command.pid, owner_of(world, command.pid).start_ticks))
    world.change("UPDATE nodes SET lost_at = now()")
    assert nodes.beat(world.engine) == "node registered"
    assert not is_running(edge.pid) and not is_running(command.pid)
    with world.engine.store.transaction() as connection:
        assert not leases.holds(connection, held)
    assert incarnation(world) == 2


def test_a_node_that_was_declared_lost_ends_also_what_others_took_over_meanwhile(
    world: World, children: Children
) -> None:
    nodes.beat(world.engine)
    edge, command = children.start(), children.start()
    held = held_by(world, owner_of(world, edge.pid))
    with world.engine.store.transaction() as connection:
        leases.set_child(connection, held, ChildGroup(command.pid, owner_of(world, command.pid).start_ticks))
    world.change("UPDATE nodes SET lost_at = now()")
    far = leases.Entry("testing", "monitor", Owner("far", "its-boot", 1, 1, 1))
    with world.engine.store.transaction("monitor") as connection:
        assert isinstance(leases.acquire(connection, held.task_id, far, LinuxHost("far")), HeldLease)
    assert nodes.beat(world.engine) == "node registered"
    assert not is_running(edge.pid) and not is_running(command.pid)


def test_a_node_that_was_declared_lost_ends_its_agents_before_it_comes_back(world: World) -> None:
    nodes.beat(world.engine)
    intake.add_item(world.engine, "DEMO", "Add a value", body="HANG", author="ann")
    running = "SELECT owner_pid FROM agent_runs r JOIN jobs j ON j.id = r.job_id WHERE j.stage = 'development'"
    world.run_until(lambda: bool(world.rows(f"{running} AND owner_pid IS NOT NULL")), timeout_s=100)
    [row] = world.rows(running)
    assert is_running(row[0])
    world.change("UPDATE nodes SET lost_at = now()")
    assert nodes.beat(world.engine) == "node registered"
    until(lambda: not is_running(row[0]))  # the shim leaves right after its exit record, which is what was waited for


def test_a_node_that_cannot_end_what_it_runs_stays_lost(world: World) -> None:
    nodes.beat(world.engine)
    held_by(world, world.engine.owner())  # this process itself: it must not kill itself in the middle of a sweep
    world.change("UPDATE nodes SET lost_at = now()")
    assert nodes.beat(world.engine) == "node not fenced"
    assert world.rows("SELECT lost_at IS NOT NULL FROM nodes")[0][0]
