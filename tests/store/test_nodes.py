"""Nodes: two machines with one name, silence, and who is declared lost."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from sqlalchemy import Engine

from orchestrator.domain.ownership import Committed, LostRace
from orchestrator.store import nodes
from orchestrator.store.nodes import NameTaken, Node
from tests.store.heart import Heart


@dataclass
class Machine:
    """What a node sees of itself."""

    node: str = "here"
    boot_id: str = "boot-1"
    pid_ns: int = 1

    def process(self, pid: int) -> None:
        raise AssertionError("no process is asked for")

    def node_is_lost(self, owner: object) -> bool:
        raise AssertionError("the table knows")


@pytest.fixture
def heart(engine: Engine) -> Heart:
    return Heart(engine)


def register(heart: Heart, machine: Machine) -> Node | NameTaken:
    with heart.store.transaction() as connection:
        return nodes.register(connection, machine, fresh_s=60)


def silent(heart: Heart, seconds: int) -> list[str]:
    heart.run("UPDATE nodes SET last_seen_at = now() - make_interval(secs => :s)", s=seconds)
    with heart.store.transaction() as connection:
        return nodes.declare_lost(connection, 600)


def test_a_second_machine_with_the_same_name_is_refused_while_the_first_is_seen(heart: Heart) -> None:
    assert isinstance(register(heart, Machine()), Node)
    assert isinstance(register(heart, Machine(boot_id="boot-2")), NameTaken)
    heart.run("UPDATE nodes SET last_seen_at = now() - interval '61 s'")
    again = register(heart, Machine(boot_id="boot-2"))
    assert isinstance(again, Node) and again.incarnation > 1


def test_the_same_machine_registers_again_without_a_new_incarnation(heart: Heart) -> None:
    first, again = register(heart, Machine()), register(heart, Machine())
    assert isinstance(first, Node) and isinstance(again, Node)
    assert first.incarnation == again.incarnation


def test_a_silent_node_is_declared_lost_once(heart: Heart) -> None:
    register(heart, Machine())
    assert silent(heart, 599) == []
    assert silent(heart, 601) == ["here"]
    assert silent(heart, 601) == []


def test_a_node_that_was_declared_lost_cannot_say_that_it_is_here(heart: Heart) -> None:
    register(heart, Machine())
    with heart.store.transaction() as connection:
        assert isinstance(nodes.seen(connection, Machine()), Committed)
    silent(heart, 601)
    with heart.store.transaction() as connection:
        assert isinstance(nodes.seen(connection, Machine()), LostRace)
    again = register(heart, Machine())
    assert isinstance(again, Node) and again.lost_at is None
    with heart.store.transaction() as connection:
        assert isinstance(nodes.seen(connection, Machine()), Committed)


def test_owners_of_a_lost_node_and_of_an_earlier_boot_are_gone_and_those_of_an_unknown_node_are_not(
    heart: Heart,
) -> None:
    register(heart, Machine())
    owner = replace(heart.myself, node="here", boot_id="boot-1")
    with heart.store.transaction() as connection:
        assert not nodes.is_lost(connection, owner)
        assert nodes.is_lost(connection, replace(owner, boot_id="boot-0"))
        assert not nodes.is_lost(connection, replace(owner, node="elsewhere"))
    silent(heart, 601)
    with heart.store.transaction() as connection:
        assert nodes.is_lost(connection, owner)


def test_a_task_keeps_its_worktrees_node_until_that_takes_nothing_new(heart: Heart) -> None:
    register(heart, Machine(node="far"))
    task = heart.task()
    heart.run("UPDATE tasks SET worktree_node = 'far' WHERE id = :t", t=task)
    with heart.store.transaction() as connection:
        assert nodes.choose(connection, task, here="here") == "far"
        nodes.set_draining(connection, "far", True)
        assert nodes.all_drain(connection)
        assert nodes.choose(connection, task, here="here") is None
    register(heart, Machine(node="here"))
    register(heart, Machine(node="third"))
    with heart.store.transaction() as connection:
        assert nodes.choose(connection, task, here="here") == "here"
        nodes.set_draining(connection, "here", True)
        assert nodes.choose(connection, task, here="here") == "third"
        assert not nodes.all_drain(connection)
