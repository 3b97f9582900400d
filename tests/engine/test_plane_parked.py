"""In Plane a person sees on the card whether its task waits for him."""

from __future__ import annotations

from pathlib import Path

from orchestrator.demo.doubles.plane import PlaneDouble
from orchestrator.demo.doubles.plane.double import ORCHESTRATOR
from orchestrator.domain.stages import Actor
from orchestrator.engine import intake, operator, polling
from orchestrator.engine.drive import drive
from tests.engine.plane_engine import PROJECT, plane_world
from tests.engine.real_engine import World


def test_a_card_in_plane_shows_whether_its_task_waits_for_a_person(tmp_path: Path, database_url: str) -> None:
    with PlaneDouble(PROJECT) as double:
        world = plane_world(tmp_path, database_url, double)
        item = double.add_item("one")
        polling.poll(world.engine, PROJECT)
        _drive(world)
        assert double.state_of(item) == "In Progress"
        _park(world)
        assert double.state_of(item) == "Needs Human"
        double.move(item, "In Progress")
        intake.look_at_item(world.engine, PROJECT, item)
        _drive(world)
        assert double.state_of(item) == "Needs Human"
        ours = double.user(ORCHESTRATOR).id
        comments = [one.html for one in double.item(item).comments if one.actor == ours]
        assert len(comments) == 1 and "no key" in comments[0]
        operator.retry(world.engine, item, "ann")
        _drive(world)
        assert double.state_of(item) == "In Progress"
        written = [one for one in double.item(item).history if one.about == "state" and one.actor == ours]
        assert len(written) == 4
        _park(world)
        double.move(item, "To Analyse")
        intake.look_at_item(world.engine, PROJECT, item)
        _drive(world)
        assert double.state_of(item) == "In Progress"
        assert world.rows("SELECT parked_at FROM tasks") == [(None,)]


def _drive(world: World) -> None:
    drive(world.engine, int(world.rows("SELECT id FROM tasks")[0][0]), Actor.MONITOR)


def _park(world: World) -> None:
    world.change("UPDATE jobs SET status = 'finished', outcome = 'auth', finished_at = now() WHERE finished_at IS NULL")
    world.change("UPDATE tasks SET parked_reason = 'no key', parked_at = clock_timestamp()")
    _drive(world)
