"""Plane (community edition, REST v1): a tracker whose every fact is read back and whose writes are safe to repeat."""

from __future__ import annotations

from orchestrator.adapters.trackers.plane.client import PlaneClient
from orchestrator.adapters.trackers.plane.tracker import PlaneTracker

__all__ = ["PlaneClient", "PlaneTracker"]
