"""What a person is told when a command fails: the message, the remedy, an exit code. No traceback."""

from __future__ import annotations

import logging
import traceback
from typing import Final

import click
from click.exceptions import Abort

from orchestrator.cli import exits
from orchestrator.cli.output import printable
from orchestrator.domain.errors import (
    ConfigurationError,
    LostRaceError,
    NeedsHumanError,
    NotAllowedError,
    OrchestratorError,
    UsageError,
)

_CODES: Final[tuple[tuple[type[OrchestratorError], int], ...]] = (
    (NotAllowedError, exits.NOT_ALLOWED),
    (UsageError, exits.WRONG_USE),
    (ConfigurationError, exits.WRONG_USE),
    (LostRaceError, exits.CHANGED),
    (NeedsHumanError, exits.NEEDS_PERSON),
)
_SHOW_TRACEBACKS: Final = "set ORCH_LOG_LEVEL=DEBUG and repeat it to see where"


def tell(error: Exception) -> int:
    """Print ``error`` on stderr and return the exit code of its class."""
    if isinstance(error, Abort):
        click.echo("cancelled", err=True)
        return exits.CANCELLED
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        traceback.print_exception(error)
    message, remedy, code = explained(error)
    click.echo(click.style("error: ", fg="red") + printable(message), err=True)
    if remedy:
        click.echo(printable(remedy), err=True)
    return code


def explained(error: Exception) -> tuple[str, str, int]:
    """(message, remedy, exit code)."""
    if isinstance(error, OrchestratorError):
        code = next((code for kind, code in _CODES if isinstance(error, kind)), exits.FAILED)
        return error.message, error.remedy, code
    if type(error).__module__.startswith("sqlalchemy."):
        return _of_database(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        code = exits.NOT_ALLOWED if isinstance(error, PermissionError) else exits.FAILED
        return f"{where}{error.strerror or error}", "", code
    return f"{type(error).__name__}: {error}", _SHOW_TRACEBACKS, exits.FAILED


def _of_database(error: Exception) -> tuple[str, str, int]:
    from psycopg.errors import InsufficientPrivilege
    from sqlalchemy.exc import OperationalError, ProgrammingError

    cause = str(getattr(error, "orig", error)).strip().partition("\n")[0]
    if isinstance(getattr(error, "orig", None), InsufficientPrivilege):
        return (
            f"this database user may not do that: {cause}",
            "give the user of ORCH_DATABASE_URL the rights, or name the one that owns the tables",
            exits.NOT_ALLOWED,
        )
    if isinstance(error, ProgrammingError):
        return f"the database does not have this program's tables: {cause}", "run `orch db upgrade`", exits.FAILED
    if isinstance(error, OperationalError):
        remedy = "see that it runs; `orch doctor` says what was tried"
        return f"the database does not answer: {cause}", remedy, exits.FAILED
    return f"the database refused it: {cause}", _SHOW_TRACEBACKS, exits.FAILED
