"""A scene a test; ``stored_scene`` has a database too."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from orchestrator.store.database import Store
from tests.gates.scene import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A repository whose base branch has one file."""
    made = Scene(tmp_path)
    made.base({"app.py": "one = 1\n"})
    return made


@pytest.fixture
def stored_scene(tmp_path: Path, engine: Engine) -> Scene:
    made = Scene(tmp_path, Store(engine))
    made.base({"app.py": "one = 1\n"})
    return made
