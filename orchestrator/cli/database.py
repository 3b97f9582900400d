"""`orch db`: the schema of the database."""

from __future__ import annotations

import click

from orchestrator.cli import session
from orchestrator.cli.output import answer, json_option


@click.group()
def db() -> None:
    """The database."""


@db.command()
@json_option
def upgrade(as_json: bool) -> None:
    """Bring the schema up to date. Repeating it is harmless; `orch up` does it by itself."""
    from orchestrator.store import migrations

    url = session.reachable(session.settings()).database_url
    assert url is not None
    before = migrations.current(url)
    migrations.upgrade(url)
    after = migrations.current(url)
    line = f"the schema is at {after}" + ("" if before == after else f" (was {before or 'empty'})")
    answer({"before": before, "after": after}, [line], as_json=as_json)
