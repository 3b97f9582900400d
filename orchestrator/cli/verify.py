"""`orch verify`: the audit, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli import exits, session
from orchestrator.cli.output import answer, json_option, note, printable

if TYPE_CHECKING:
    from orchestrator.audit import Audit

_SPANS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class _Since(click.ParamType[datetime]):
    """A time span back from now (``36h``) or a moment (ISO 8601; local time where it names no zone)."""

    name = "span or time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        words = str(value)
        try:
            if words[-1:] in _SPANS:
                return datetime.now(UTC) - timedelta(**{_SPANS[words[-1]]: float(words[:-1])})
            return datetime.fromisoformat(words).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"{words!r} is neither a span like 90m, 36h, 7d nor a time like 2026-01-31T08:00", param, ctx)


@click.command()
@click.option("--item", metavar="ITEM", help="Only the tasks of one work item.")
@click.option("--since", type=_Since(), metavar="SPAN|TIME", help="Only tasks that were live then or later.")
@json_option
def verify(item: str | None, since: datetime | None, as_json: bool) -> None:
    """Hold rows, git, environments, processes and texts against the invariants.

    Each breach is named with its evidence; exit code 1 when there is one, or when something could not be read. Runs
    beside the working fleet and changes nothing.
    """
    from orchestrator.audit import Scope, audit

    found = audit(session.engine(), Scope(item, since), secrets=session.settings().secrets(), say=note)
    for what in found.notes:
        note(what)
    for what in found.unread:
        note(f"not read: {what}")
    answer(found, _lines(found), as_json=as_json)
    if found.breaches or found.unread:
        raise click.exceptions.Exit(exits.FAILED)


def _lines(found: Audit) -> Iterator[str]:
    yield from (printable(str(breach)) for breach in found.breaches)
    looked = f"{found.tasks} tasks, {found.effects} effects, {found.landings} merges on base branches"
    yield f"{looked}: {len(found.breaches)} breaches"
