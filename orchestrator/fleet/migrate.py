"""The step between stores and workers: `python -m orchestrator.fleet.migrate` brings the schema up to date."""

from __future__ import annotations

import sys

from orchestrator.domain.errors import OrchestratorError
from orchestrator.settings import load_settings
from orchestrator.store.migrations import upgrade


def main() -> int:
    """Exit code: 0 done, 1 failed (the reason is on stderr)."""
    try:
        settings = load_settings()
        assert settings.database_url is not None  # the fleet always hands one down
        upgrade(settings.database_url)
    except OrchestratorError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
