"""A real engine whose work items live in the stand-in for Plane."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx

from orchestrator.adapters.trackers.plane import PlaneClient, PlaneTracker
from orchestrator.demo.doubles.plane import PlaneDouble
from orchestrator.demo.doubles.plane.double import API_KEY
from orchestrator.domain.configuration import PlaneConfig
from orchestrator.engine.context import Engine
from orchestrator.secret import Secret
from orchestrator.store import inbox
from tests.engine.real_engine import World, make_world

PROJECT = "DEMO"


def on_plane(world: World, double: PlaneDouble, **config: object) -> Engine:
    """The world's engine with its project's tracker in ``double``; also given to the world."""
    ports = world.engine.project(PROJECT)
    plane = PlaneConfig(workspace="acme")
    changed = replace(ports.config, tracker="plane", plane=plane, **config)  # type: ignore[arg-type]  # a test's short hand
    client = PlaneClient(double.url, Secret(API_KEY), "acme", timeout=httpx.Timeout(20.0))
    found = replace(ports, config=changed, tracker=PlaneTracker(client, changed))
    world.engine = replace(world.engine, project=lambda key: found)
    return world.engine


def plane_world(tmp_path: Path, database_url: str, double: PlaneDouble, **config: object) -> World:
    world = make_world(tmp_path, database_url, 'test: ["true"]\n')
    on_plane(world, double, **config)
    return world


def keep(engine: Engine, body: bytes, key: str = "k", event: str = "issue", source: str = "plane") -> int:
    """A delivery as the web keeps it."""
    with engine.store.transaction() as connection:
        return inbox.receive(connection, source=source, delivery="d", dedupe_key=key, event=event, body=body).id
