"""`orch verify`: the audit, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from orchestrator.cli import exits, session
from orchestrator.cli.output import answer, json_option, note, printable

if TYPE_CHECKING:
    from orchestrator.audit import Audit


@click.command()
@json_option
def verify(as_json: bool) -> None:
    """Hold ledger, stage history, git and deployments against the invariants; exit code 1 when one is broken."""
    from orchestrator.audit import audit

    found = audit(session.engine())
    for project in found.unread:
        note(f"not read: {project}")
    answer(found, _lines(found), as_json=as_json)
    if found.breaches or found.unread:
        raise click.exceptions.Exit(exits.FAILED)


def _lines(found: Audit) -> Iterator[str]:
    yield from (printable(str(breach)) for breach in found.breaches)
    looked = f"{found.tasks} tasks, {found.effects} effects, {found.landings} merges on base branches"
    yield f"{looked}: {len(found.breaches)} breaches"
