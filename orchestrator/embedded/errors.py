"""Why an embedded store cannot run."""

from __future__ import annotations

from orchestrator.domain.errors import NeedsHumanError


class EmbeddedStoreError(NeedsHumanError):
    """Postgres or Valkey cannot be set up or started on this machine; the remedy says what a person can do."""
