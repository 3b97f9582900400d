"""Settings whose stores can be reached: where no URL is set, the embedded stores of the same data directory."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.embedded.places import places
from orchestrator.settings import Settings


def with_stores(settings: Settings) -> Settings:
    """``settings`` with both URLs, so that a command in another shell finds the stores of a running ``orch up``."""
    if settings.database_url and settings.broker_url:
        return settings
    where = places(settings.data_dir)
    return replace(
        settings,
        database_url=settings.database_url or where.database_url(),
        broker_url=settings.broker_url or where.broker_url,
    )
