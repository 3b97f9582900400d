"""Postgres and Valkey from wheels, as direct children: what `orch up` and the tests use where no URL is set."""

from orchestrator.embedded.errors import EmbeddedStoreError
from orchestrator.embedded.places import Places, places
from orchestrator.embedded.stores import EmbeddedStores

__all__ = ["EmbeddedStoreError", "EmbeddedStores", "Places", "places"]
