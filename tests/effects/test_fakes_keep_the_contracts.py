"""The fakes of this folder's tests keep the same contracts as the real things."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator.ports import Forge, Tracker, TrackerState
from tests.adapters.contracts.forge_contract import ForgeContract, ForgeWorld
from tests.adapters.contracts.tracker_contract import TrackerContract, TrackerWorld
from tests.fakes.forge import FakeForge
from tests.fakes.repository import Remote
from tests.fakes.tracker import FakeTracker
from tests.fakes.wire import Wire


class FakeForgeWorld:
    def __init__(self) -> None:
        self._remote = Remote()
        self._remote.commit("main")
        self.forge: Forge = FakeForge(self._remote, Wire())

    def another(self) -> Forge:
        return self.forge

    def commit(self, branch: str) -> str:
        return self._remote.commit(branch)

    def merge_by_hand(self, sha: str) -> None:
        self._remote.branches["main"] = sha

    def commits_in(self, sha: str) -> int:
        return len(set(self._remote.history(sha)))


class FakeTrackerWorld:
    def __init__(self) -> None:
        self._fake = FakeTracker(Wire())
        self.tracker: Tracker = self._fake

    def another(self) -> Tracker:
        return self.tracker

    def add(self, title: str, body: str = "", priority: int = 0, blocked_by: Sequence[str] = ()) -> str:
        key = f"P-{len(self._fake.items) + 1}"
        self._fake.add(key, title=title, body=body, priority=priority, blocked_by=tuple(blocked_by))
        return key

    def move(self, key: str, state: TrackerState) -> None:
        self._fake.set_state(key, state)

    def comments(self, key: str) -> Sequence[str]:
        return [text for (item, _), text in self._fake.comments.items() if item == key]


class TestFakeForge(ForgeContract):
    @pytest.fixture
    def world(self) -> ForgeWorld:
        return FakeForgeWorld()


class TestFakeTracker(TrackerContract):
    @pytest.fixture
    def world(self) -> TrackerWorld:
        return FakeTrackerWorld()
