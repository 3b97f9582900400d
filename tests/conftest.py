"""Fixtures for every test: real stores (one database a test) and real processes."""

pytest_plugins = ["tests.fixtures_stores", "tests.fixtures_deploys", "tests.fixtures_processes"]
