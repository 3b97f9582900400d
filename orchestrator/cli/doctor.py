"""`orch doctor`: look at every part, say what was tried and what came of it, and print the mend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli import exits, session
from orchestrator.cli.findings import Finding, Health
from orchestrator.cli.output import answer, json_option, printable
from orchestrator.settings import describe

if TYPE_CHECKING:
    from orchestrator.settings import Settings

_MARKS: Final = {Health.GOOD: ("ok  ", "green"), Health.WARNING: ("look", "yellow"), Health.BAD: ("BAD ", "red")}


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check every part that the orchestrator needs and print the mend of what is missing; exit code 1 if any fails."""
    found = session.settings()
    results = list(examine(found))
    settings = [{"name": name, "value": value, "source": source} for name, value, source in describe(found)]
    answer({"findings": results, "settings": settings}, _lines(results), as_json=as_json)
    if any(one.health is Health.BAD for one in results):
        raise click.exceptions.Exit(exits.FAILED)


def examine(found: Settings) -> Iterator[Finding]:
    """Every finding, this machine first. Changes nothing but the mirror of each repository."""
    from orchestrator.cli import checks_connections, checks_here, checks_projects, checks_stores
    from orchestrator.embedded.reachable import with_stores

    usable = with_stores(found)
    fleet_runs = is_running(found)
    yield from checks_here.findings(found, fleet_runs=fleet_runs)
    yield from checks_stores.findings(usable, fleet_runs=fleet_runs)
    yield from checks_projects.findings(usable)
    yield from checks_connections.findings(usable, fleet_runs=fleet_runs)


def is_running(found: Settings) -> bool:
    """Whether a fleet holds this data directory."""
    from orchestrator.fleet.record import read_record, record_path

    record = read_record(record_path(found.data_dir))
    return record is not None and record.supervisor.lives()


def _lines(results: list[Finding]) -> Iterator[str]:
    for one in results:
        word, colour = _MARKS[one.health]
        yield f"{click.style(word, fg=colour)}  {printable(one.part)}: {printable(one.tried)}: {printable(one.got)}"
        if one.mend:
            yield from (f"        {printable(line)}" for line in one.mend.splitlines())
    bad = sum(one.health is Health.BAD for one in results)
    looks = sum(one.health is Health.WARNING for one in results)
    yield f"{len(results)} checks: {bad} bad, {looks} worth a look"
