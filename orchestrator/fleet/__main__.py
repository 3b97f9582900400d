"""`python -m orchestrator.fleet`: the supervisor without the rest of the command line. Settings: environment."""

from __future__ import annotations

import contextlib
import sys

from orchestrator.domain.errors import OrchestratorError
from orchestrator.fleet.run import run_fleet
from orchestrator.settings import load_settings


def report(line: str) -> None:
    """One line for the operator, on stderr. A terminal that has gone must not stop the fleet."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def main() -> int:
    """Exit codes: see ``run_fleet``."""
    try:
        settings = load_settings()
    except OrchestratorError as error:
        report(str(error))
        return 1
    return run_fleet(settings, report)


if __name__ == "__main__":
    sys.exit(main())
