"""Fixtures of the adapters' tests."""

from __future__ import annotations

import uuid

import pytest

pytest.register_assert_rewrite("tests.adapters.contracts.tracker_contract", "tests.adapters.contracts.forge_contract")


@pytest.fixture
def project() -> str:
    """A project of this test's own."""
    return f"P{uuid.uuid4().hex[:8]}"
