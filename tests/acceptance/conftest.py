"""Processes of this folder's tests are ended however the test ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.scene import end_services
from tests.engine.staged import Drives


@pytest.fixture
def drives(tmp_path: Path) -> Iterator[Drives]:
    drives = Drives({})
    yield drives
    drives.end()
    end_services(tmp_path)
