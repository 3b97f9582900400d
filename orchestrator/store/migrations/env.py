"""Alembic runs this for each upgrade, on the connection that ``migrations.upgrade`` has prepared: locked and timed."""

from __future__ import annotations

from alembic import context

from orchestrator.store.local_schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # A crash between two migrations leaves the database at the first: a version, not a mixture.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
