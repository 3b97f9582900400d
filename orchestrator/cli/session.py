"""What a command works with: settings, the store of the running fleet, the engine, and who is asking."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli.output import note
from orchestrator.domain.errors import ConfigurationError, NotAllowedError, OrchestratorError, TransientError
from orchestrator.settings import Settings, load_settings

_REFUSED_LOGIN: Final = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|permission denied for database"
    r"|role \".*\" (does not exist|is not permitted to log in)"
)
"""While it connects, the client library gives no code of the error but only the server's words."""

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from orchestrator.engine.context import Engine
    from orchestrator.store.database import Store


def settings(*, port: int | None = None, data_dir: Path | None = None) -> Settings:
    """The settings of this process, with what the command line says instead. Logs go to stderr.

    Warnings and worse only, unless ORCH_LOG_LEVEL asks for more: a command's answer is not a log.
    """
    from orchestrator import logs

    found = load_settings()
    level = found.log_level if "ORCH_LOG_LEVEL" in found.sources else "WARNING"
    logs.set_up(level=level, style=found.log_format, secrets=found.secret_values())
    if data_dir is not None:
        found = _moved(found, data_dir.expanduser().absolute())
    return found if port is None else replace(found, port=port)


def _moved(found: Settings, data_dir: Path) -> Settings:
    by_default = "ORCH_CONFIG" not in found.sources and found.config_path.parent == found.data_dir
    config_path = data_dir / found.config_path.name if by_default else found.config_path
    return replace(found, data_dir=data_dir, config_path=config_path)


def reachable(found: Settings) -> Settings:
    """``found`` with the URLs of the stores that answer. Raises TransientError, naming where it looked."""
    from sqlalchemy import text
    from sqlalchemy.exc import OperationalError

    from orchestrator.embedded.reachable import with_stores
    from orchestrator.store.database import connect

    usable = with_stores(found)
    assert usable.database_url is not None
    tried = connect(usable.database_url)
    try:
        with tried.snapshot() as connection:
            connection.execute(text("SELECT 1"))
    except OperationalError as error:
        raise _not_running(found, error) from error
    finally:
        tried.engine.dispose()
    return usable


def _not_running(found: Settings, error: Exception) -> OrchestratorError:
    if found.database_url is None:
        return TransientError(
            f"no fleet is running on the data directory {found.data_dir}",
            remedy="start one with `orch up`, or set ORCH_DATA_DIR or ORCH_DATABASE_URL to where it runs",
        )
    cause = str(getattr(error, "orig", error)).strip().partition("\n")[0]
    if _REFUSED_LOGIN.search(cause):
        return NotAllowedError(
            f"the database does not let this user in: {cause}",
            remedy="check user and password in ORCH_DATABASE_URL, or in the file that ORCH_DATABASE_URL_FILE names",
        )
    return TransientError(f"the database does not answer: {cause}", remedy="check ORCH_DATABASE_URL")


def store(found: Settings | None = None) -> Store:
    """The store of the running fleet."""
    from orchestrator.bootstrap import build_store

    return _closed_at_end(build_store(reachable(found or settings())))


def _closed_at_end(opened: Store) -> Store:
    click.get_current_context().call_on_close(opened.engine.dispose)
    return opened


@contextmanager
def reading() -> Iterator[Connection]:
    """One consistent read of the store."""
    with store().snapshot() as connection:
        yield connection


def engine(*, in_an_emergency: bool = False) -> Engine:
    """The engine for acts of people. Its nudges are best effort: a broker that is down only makes it slower.

    ``in_an_emergency``: for acts that need no project and must work while ``orchestrator.yml`` is broken.
    """
    from orchestrator.bootstrap import build_engine, build_nudges

    usable = reachable(settings())
    nudges = build_nudges(usable)
    try:
        built = build_engine(usable, nudges)
    except ConfigurationError as error:
        if not in_an_emergency:
            raise
        note(f"warning: {error.message}")
        built = build_engine(replace(usable, config_path=_no_projects()), nudges)
    _closed_at_end(built.store)
    return built


def _no_projects() -> Path:
    """A good configuration that names nothing; gone when the command ends."""
    file = NamedTemporaryFile(suffix=".yml")  # noqa: SIM115  # closed with the command, not here
    file.write(b"projects: []\n")
    file.flush()
    click.get_current_context().call_on_close(file.close)
    return Path(file.name)


def who() -> str:
    """The person at the terminal, as history names them: user@host."""
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
