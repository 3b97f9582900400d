"""The step that brings the schema up to date, while the database comes and goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.domain.errors import TransientError
from orchestrator.embedded import EmbeddedStores, places
from orchestrator.fleet.migrate import upgrade_patiently
from orchestrator.store.migrations import current, head
from tests.processes import until

NOWHERE = "postgresql+psycopg://nobody@/nothing?host=/nowhere"


def test_a_database_that_is_away_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    data, url = tmp_path / "data", places(tmp_path / "data").database_url()
    log = tmp_path / "log"
    program = f"from orchestrator.fleet.migrate import upgrade_patiently; upgrade_patiently({url!r}, 120.0)"
    with log.open("wb") as output, subprocess.Popen([sys.executable, "-c", program], stderr=output) as step:
        try:
            until(lambda: "did not do it" in log.read_text(), 60.0)
            with EmbeddedStores(data, valkey=False):
                assert step.wait(120) == 0
                assert current(url) == head()
        finally:
            step.kill()


def test_a_database_that_stays_away_ends_the_step_with_its_reason() -> None:
    with pytest.raises(TransientError, match="did not do it"):
        upgrade_patiently(NOWHERE, 0.0)
