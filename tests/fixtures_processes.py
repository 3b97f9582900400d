"""Real processes for tests, ended however the test ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.processes import Children


@pytest.fixture
def children() -> Iterator[Children]:
    """Starts processes; leaves none of them."""
    children = Children()
    yield children
    children.end()
