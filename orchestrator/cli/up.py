"""`orch up`: the whole fleet in the foreground."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli import session
from orchestrator.cli.output import json_option, note

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.settings import Settings

TOKEN_FILE: Final = "api.token"  # the name of the file, not what is in it


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the web; ORCH_PORT otherwise.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where everything is kept; ORCH_DATA_DIR otherwise.")
@click.option("--replace", is_flag=True, help="Stop the fleet that runs there, in order, and take its place.")
@json_option
def up(port: int | None, data_dir: Path | None, replace: bool, as_json: bool) -> None:
    """Run web, workers, beat and Flower until Ctrl-C, with stores of its own where no URL is set. Agents survive it."""
    from orchestrator.bootstrap import hide_this_process
    from orchestrator.fleet import run_fleet

    hide_this_process()
    found = session.settings(port=port, data_dir=data_dir)
    for warning in found.warnings:
        note(f"warning: {warning}")
    ready = with_token(found)
    _look_at_configuration(ready)
    report = _json_reporter if as_json else note
    code = run_fleet(ready, report, stale_ticks=stale_ticks(ready), replace=replace)
    raise click.exceptions.Exit(code)


def _look_at_configuration(found: Settings) -> None:
    """Raises ConfigurationError, with every line, for a file that no worker could use."""
    from orchestrator.project_config import operator_config_of_fleet

    configured, problem = operator_config_of_fleet(found.config_path).current()
    if problem is not None:
        note(f"no project yet: there is no {found.config_path}; `orch init` writes one, and it is taken up at once")
    elif not configured.projects:
        note(f"no project yet: {found.config_path} names none; a project that you add is taken up at once")


def _json_reporter(line: str) -> None:
    import json

    click.echo(json.dumps({"line": line}))


def with_token(found: Settings) -> Settings:
    """Settings with an API token: the one that is set, else the one of the data directory, made when it is missing.

    The services get the name of its file, not the token.
    """
    from orchestrator.embedded.places import make_private
    from orchestrator.settings import load_settings

    if found.api_token is not None:
        return found
    make_private(found.data_dir)
    path = found.data_dir / TOKEN_FILE
    _make_token(path)
    note(f"API token: in {path}")
    return load_settings({**found.process_environment(), "ORCH_API_TOKEN_FILE": str(path)})


def _make_token(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")


def stale_ticks(found: Settings) -> Callable[[], bool]:
    """Whether a sweep has stood still for three of its intervals although its processes live."""
    from orchestrator.embedded.reachable import with_stores
    from orchestrator.store import ticks
    from orchestrator.store.database import connect

    usable = with_stores(found)
    assert usable.database_url is not None
    store = connect(usable.database_url)
    intervals = {"reap": found.timings.reaper_interval_s, "reconcile": found.timings.reconciler_interval_s}

    def stale() -> bool:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with store.snapshot() as connection:
                seen = {one.name: one.age_s for one in ticks.ages(connection)}
        except SQLAlchemyError:
            return False  # the database is another service's trouble, and it is watched too
        return any(seen.get(name, 0.0) > max(3 * every, 30.0) for name, every in intervals.items())

    return stale
