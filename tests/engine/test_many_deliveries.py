"""Thousands of recorded deliveries, mutated, doubled and shuffled: no exception, nothing lost, nothing done twice.

`make soak` plays ten thousand; the suite plays some hundreds of the same. One seed gives one play.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.demo.doubles.plane import PlaneDouble
from orchestrator.engine import deliveries
from orchestrator.store import inbox
from tests.adapters.plane.described import deliveries as recorded
from tests.adapters.plane.spoiling import Spoiler
from tests.engine.plane_engine import PROJECT, plane_world
from tests.engine.real_engine import World

ITEMS = 12
SEED = 20261124


class Players:
    """Turns recorded deliveries into deliveries about items of the stand-in."""

    def __init__(self, double: PlaneDouble, seed: int) -> None:
        self.random = random.Random(seed)
        self._double = double
        self._recorded = [json.loads(one["raw_body"]) for one in recorded()]

    def about(self, key: str) -> bytes:
        """A true delivery about that item, made from a recorded one, with data that says nothing true of it."""
        body = json.loads(json.dumps(self.random.choice([one for one in self._recorded if one["event"] == "issue"])))
        item = self._double.item(key)
        body["data"].update(id=item.id, project=self._double.project.id, sequence_id=item.number)
        body["data"]["nonce"] = self.random.random()
        body["activity"]["actor"]["id"] = self._double.user("ann").id
        return json.dumps(body).encode()


@pytest.fixture
def double() -> Iterator[PlaneDouble]:
    with PlaneDouble(PROJECT) as made:
        made.writes.race_s = 0.0
        yield made


def play(world: World, double: PlaneDouble, count: int) -> None:
    """People put items to work and stop every third; a delivery tells of each, among ``count`` in all."""
    players, spoiler, engine = Players(double, SEED), Spoiler(SEED), world.engine
    keys = [double.add_item(f"item {number}") for number in range(ITEMS)]
    bodies = [spoiler.spoiled() for _ in range(count - 2 * ITEMS)]
    begun = [players.about(key) for key in keys]
    for body in begun:
        bodies.insert(players.random.randrange(len(bodies) // 2), body)
    stopped = keys[::3]
    half = len(bodies) // 2
    keep_all(world, players, bodies[:half])
    sweep_all(world)
    for key in stopped:
        double.move(key, "STOP")
    rest = bodies[half:] + [players.about(key) for key in stopped]
    players.random.shuffle(rest)
    keep_all(world, players, rest)
    sweep_all(world)
    left = world.rows("SELECT error FROM inbox WHERE processed_at IS NULL")
    assert [row[0] for row in left] == []
    with engine.store.transaction() as connection:
        assert list(inbox.due(connection)) == []
    started = world.rows("SELECT work_item, count(*), count(stop_requested_at) FROM tasks GROUP BY 1")
    assert {row[0]: (row[1], row[2]) for row in started} == {key: (1, int(key in stopped)) for key in keys}
    assert world.rows("SELECT count(*) FROM jobs")[0][0] == ITEMS
    assert world.rows("SELECT count(*) FROM events WHERE kind = 'stop.requested'")[0][0] == len(stopped)
    assert world.rows("SELECT count(*) FROM counters WHERE name = 'delivery_failures_total'")[0][0] == 0


def keep_all(world: World, players: Players, bodies: list[bytes]) -> None:
    """As the web keeps them; some come twice, and the same body is one row."""
    with world.engine.store.transaction() as connection:
        for body in bodies:
            for _ in range(2 if players.random.random() < 0.2 else 1):
                key = hashlib.sha256(body).hexdigest()
                event = players.random.choice(("issue", "issue_comment", "project", ""))
                inbox.receive(connection, source="plane", delivery="d", dedupe_key=key, event=event, body=body)


def sweep_all(world: World) -> None:
    while deliveries.sweep_inbox(world.engine):
        world.nudges.held.clear()


def test_hundreds_of_deliveries_have_their_consequences_once(
    tmp_path: Path, database_url: str, double: PlaneDouble
) -> None:
    play(plane_world(tmp_path, database_url, double), double, 400)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_ten_thousand_deliveries_have_their_consequences_once(
    tmp_path: Path, database_url: str, double: PlaneDouble
) -> None:
    play(plane_world(tmp_path, database_url, double), double, 10_000)
