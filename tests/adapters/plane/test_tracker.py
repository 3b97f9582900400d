"""The tracker on Plane keeps the contract of trackers."""

from __future__ import annotations

import pytest

from tests.adapters.contracts.tracker_contract import TrackerContract, TrackerWorld
from tests.adapters.plane.conftest import PlaneWorld


class TestPlaneTracker(TrackerContract):
    @pytest.fixture
    def world(self, plane: PlaneWorld) -> TrackerWorld:
        return plane
