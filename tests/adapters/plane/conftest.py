"""A stand-in for Plane a test, and the tracker on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import httpx
import pytest

from orchestrator.adapters.trackers.plane import PlaneClient, PlaneTracker
from orchestrator.demo.doubles.plane import PlaneDouble
from orchestrator.demo.doubles.plane.double import API_KEY
from orchestrator.domain.configuration import PlaneConfig, ProjectConfig
from orchestrator.domain.work_items import TrackerState
from orchestrator.secret import Secret

NAMES = {
    TrackerState.BACKLOG: "Backlog",
    TrackerState.TO_ANALYSE: "To Analyse",
    TrackerState.IN_PROGRESS: "In Progress",
    TrackerState.NEEDS_HUMAN: "Needs Human",
    TrackerState.STOP: "STOP",
    TrackerState.DONE: "Done",
    TrackerState.CANCELLED: "Cancelled",
}
PRIORITIES = ("none", "low", "medium", "high", "urgent")


class PlaneWorld:
    """``TrackerWorld`` on the stand-in."""

    def __init__(self, double: PlaneDouble) -> None:
        self.double = double
        self.tracker = self.another()

    def config(self, **values: object) -> ProjectConfig:
        plane = PlaneConfig(workspace="acme")
        return ProjectConfig(key="ORCH", repository="r", tracker="plane", plane=plane, **values)  # type: ignore[arg-type]  # a test's short hand

    def client(self, **values: object) -> PlaneClient:
        timeout = httpx.Timeout(20.0)
        return PlaneClient(self.double.url, Secret(API_KEY), "acme", **{"timeout": timeout, **values})  # type: ignore[arg-type]  # as above

    def another(self, **config: object) -> PlaneTracker:
        return PlaneTracker(self.client(), self.config(**config))

    def add(self, title: str, body: str = "", priority: int = 0, blocked_by: Sequence[str] = ()) -> str:
        html = "".join(f"<p>{one}</p>" for one in body.split("\n\n")) or "<p></p>"
        key = self.double.add_item(title, html, priority=PRIORITIES[priority], blocked_by=blocked_by)
        self.double.worker.wait_until_idle()
        return key

    def move(self, key: str, state: TrackerState) -> None:
        self.double.move(key, NAMES[state])

    def comments(self, key: str) -> Sequence[str]:
        return self.double.comments(key)


@pytest.fixture
def double() -> Iterator[PlaneDouble]:
    with PlaneDouble() as made:
        yield made


@pytest.fixture
def plane(double: PlaneDouble) -> PlaneWorld:
    return PlaneWorld(double)
