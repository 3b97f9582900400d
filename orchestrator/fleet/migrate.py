"""The step between stores and workers: `python -m orchestrator.fleet.migrate` brings the schema up to date."""

from __future__ import annotations

import sys
import time
from typing import Final

from orchestrator.domain.errors import OrchestratorError, TransientError
from orchestrator.settings import load_settings
from orchestrator.store.migrations import upgrade

PATIENCE_S: Final = 120.0
"""A database that restarts is back by then: one that falls over while the fleet starts must not end it."""
_PAUSE_S: Final = 1.0


def main() -> int:
    """Exit code: 0 done, 1 failed (the reason is on stderr)."""
    try:
        settings = load_settings()
        assert settings.database_url is not None  # the fleet always hands one down
        upgrade_patiently(settings.database_url, PATIENCE_S)
    except OrchestratorError as error:
        _tell(error)
        return 1
    return 0


def upgrade_patiently(url: str, patience_s: float) -> None:
    """``upgrade``, again and again while the database is away or in use. Raises its error after ``patience_s``, and at
    once what no waiting mends."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return upgrade(url)
        except TransientError as error:
            if time.monotonic() > deadline:
                raise
            _tell(error)
        time.sleep(_PAUSE_S)


def _tell(error: OrchestratorError) -> None:
    sys.stderr.write(f"{error}\n")


if __name__ == "__main__":
    sys.exit(main())
