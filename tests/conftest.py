"""Fixtures for every test: real stores, one database a test."""

pytest_plugins = ["tests.fixtures_stores", "tests.fixtures_deploys"]
