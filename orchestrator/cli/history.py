"""What happened to a work item, and what was done to the outside world for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli import session
from orchestrator.cli.agents import AgentTail
from orchestrator.cli.items import page_of
from orchestrator.cli.output import answer, as_text, clock, columns, json_option, printable

if TYPE_CHECKING:
    from orchestrator.store.database import Store
    from orchestrator.store.read_models import EventRow

_BATCH: Final = 500
_POLL_S: Final = 0.5


@click.command()
@click.argument("item")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens until the item is over.")
@json_option
def log(item: str, follow: bool, as_json: bool) -> None:
    """Show the history of ITEM, oldest first; with --json one object a line.

    With --follow also what its agents print on this node, between the events and marked by a bar.
    """
    store = session.store()
    with store.snapshot() as connection:
        page_of(connection, item)
    last, tail = 0, AgentTail(session.engine(in_an_emergency=True), item) if follow else None
    while True:
        over = not follow or _is_over(store, item)
        last = _print_from(store, item, last, as_json=as_json)
        if tail is not None:
            _print_agent(tail, as_json=as_json)
        if over:
            return
        time.sleep(_POLL_S)


def _print_agent(tail: AgentTail, *, as_json: bool) -> None:
    for run_id, line in tail.new_lines():
        for one in line.splitlines():
            click.echo(as_text({"run": run_id, "line": one}, indent=None) if as_json else f"  | {printable(one)}")


def _is_over(store: Store, item: str) -> bool:
    """Looked at before its events are read: then the last ones are not missed."""
    from orchestrator.store.read_models import ItemState

    with store.snapshot() as connection:
        return page_of(connection, item).row.state in (ItemState.DONE, ItemState.CANCELLED)


def _print_from(store: Store, item: str, last: int, *, as_json: bool) -> int:
    from orchestrator.store import read_models

    while True:
        with store.snapshot() as connection:
            batch = read_models.item_events(connection, item, after_id=last, limit=_BATCH)
        for event in batch:
            for line in [as_text(event, indent=None)] if as_json else _event_lines(event):
                click.echo(line)
            last = event.id
        if len(batch) < _BATCH:
            return last


def _event_lines(event: EventRow) -> Iterator[str]:
    """Its line; a proof is a list, and each of its lines stands below."""
    proof = event.detail.get("proof")
    lines = proof if isinstance(proof, list) else []
    detail = {name: value for name, value in event.detail.items() if name != "proof" or not lines}
    yield _event_line(replace(event, detail=detail))
    yield from (f"          {printable(str(line))}" for line in lines)


def _event_line(event: EventRow) -> str:
    told = " ".join(
        f"{name}={_value(value)}" for name, value in event.detail.items() if value not in (None, "", [], {})
    )
    line = f"{clock(event.at)}  {event.kind:<24} {event.actor or '-':<22} {told}"
    return printable(line.replace("\n", " ")).rstrip()


def _value(value: object) -> str:
    return value if isinstance(value, str) else as_text(value, indent=None)


@click.command()
@click.argument("item")
@json_option
def effects(item: str, as_json: bool) -> None:
    """Show the ledger of ITEM: each effect, what it was decided with and what came of it."""
    from orchestrator.store import read_models

    with session.reading() as connection:
        page_of(connection, item)
        rows = read_models.item_effects(connection, item)
    table = [
        (
            one.kind,
            one.target,
            one.status,
            str(one.visit),
            str(one.epoch),
            str(one.sends),
            str(one.adoptions),
            _told(one.result),
        )
        for one in rows
    ]
    header = ("EFFECT", "TARGET", "STATUS", "VISIT", "EPOCH", "SENT", "ADOPTED", "SEEN")
    answer(rows, columns(table, header) if rows else _none(item), as_json=as_json)


def _told(result: object) -> str:
    return ", ".join(f"{name}={value}" for name, value in result.items()) if isinstance(result, dict) else ""


def _none(item: str) -> Iterator[str]:
    yield f"nothing was done to the outside world for {item} yet"
