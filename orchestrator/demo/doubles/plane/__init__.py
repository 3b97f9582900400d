"""A stand-in for Plane (community edition): its REST API v1 and its webhooks, with the traps that the real one has."""

from __future__ import annotations

from orchestrator.demo.doubles.plane.double import PlaneDouble

__all__ = ["PlaneDouble"]
