"""The `orch` command: every command is thin, imported when it is asked for, and never shows a traceback."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main() -> None:
    """Entry point of `orch` and `orchestrator`."""
    raise SystemExit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; whatever goes wrong is told on stderr."""
    from click import ClickException

    from orchestrator.cli.commands import orch

    try:
        code = orch.main(list(arguments), prog_name="orch", standalone_mode=False)
    except ClickException as error:
        error.show()
        return error.exit_code
    except Exception as error:
        from orchestrator.cli.failures import tell

        return tell(error)
    return code if isinstance(code, int) else 0
