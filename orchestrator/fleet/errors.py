"""Why the fleet does not run."""

from __future__ import annotations

from orchestrator.domain.errors import NeedsHumanError


class FleetError(NeedsHumanError):
    """The fleet cannot start, or a service does not come up; the remedy says what a person can do."""


class AlreadyRunningError(FleetError):
    """Another supervisor holds this data directory."""
