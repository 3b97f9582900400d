"""Work items: add one, look at one or all, and say why one is not further."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from orchestrator.cli import session
from orchestrator.cli.output import ago, answer, clock, coloured, columns, json_option, printable, short
from orchestrator.domain.errors import NotFoundError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from orchestrator.domain.deaths import Death
    from orchestrator.store.database import Store
    from orchestrator.store.read_models import ItemPage, ItemRow, StopRow


@click.command()
@click.argument("project")
@click.argument("title")
@click.option("--body", default="", help="What is wanted, in full.")
@click.option("--key", help="The key to use, PROJECT-<number>; the next free one otherwise.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher goes first.")
@click.option("--blocked-by", multiple=True, metavar="ITEM", help="Waits until that item is over; may be repeated.")
@json_option
def add(
    project: str, title: str, body: str, key: str | None, priority: int, blocked_by: tuple[str, ...], as_json: bool
) -> None:
    """Add a work item to the built-in tracker of PROJECT and start it."""
    from orchestrator.engine import intake

    added = intake.add_item(
        session.engine(),
        project,
        title,
        body=body,
        priority=priority,
        author=session.who(),
        key=key,
        blocked_by=blocked_by,
    )
    answer({"item": added}, [added], as_json=as_json)


@click.command()
@click.argument("item", required=False)
@json_option
def status(item: str | None, as_json: bool) -> None:
    """Show the board, or everything about ITEM."""
    from orchestrator.store import read_models

    with session.reading() as connection:
        if item is not None:
            page = page_of(connection, item)
            answer(page, _page_lines(page), as_json=as_json)
            return
        rows = read_models.board(connection)
        levers = read_models.queue(connection)["switches"]
    answer({"items": rows, "switches": levers}, board_lines(rows), as_json=as_json)


@click.command()
@click.argument("item")
@json_option
def why(item: str, as_json: bool) -> None:
    """Say every reason why ITEM is not further."""
    with session.reading() as connection:
        page = page_of(connection, item)
    data = {
        "item": item,
        "stage": page.row.stage,
        "state": page.row.state,
        "reasons": page.row.reasons,
        "until": page.reasons_until,
    }
    answer(data, _why_lines(page), as_json=as_json)


def page_of(connection: Connection, item: str) -> ItemPage:
    """Everything about ``item``. Raises NotFoundError."""
    from orchestrator.store import read_models

    page = read_models.item(connection, item)
    if page is None:
        raise NotFoundError(f"there is no task of a work item {item}", remedy="`orch status` lists them all")
    return page


def page_in(store: Store, item: str) -> ItemPage:
    """``page_of`` in a read of its own."""
    with store.snapshot() as connection:
        return page_of(connection, item)


def board_lines(rows: list[ItemRow]) -> Iterator[str]:
    """The board for people: one line an item."""
    if not rows:
        yield "no work items yet: `orch add PROJECT TITLE` adds one"
        return
    table = [
        (row.work_item, row.stage, row.state, ago(row.since), row.title[:48], "; ".join(row.reasons)[:100])
        for row in rows
    ]
    header, *lines = columns(table, ("ITEM", "STAGE", "STATE", "FOR", "TITLE", "WHY"))
    yield header
    for row, line in zip(rows, lines, strict=True):
        yield line.replace(f"  {row.state} ", f"  {coloured(row.state)} ", 1)


def _why_lines(page: ItemPage) -> Iterator[str]:
    row = page.row
    yield f"{row.work_item} is {row.state} in {row.stage} for {ago(row.since)}"
    yield from (f"  {printable(reason)}" for reason in row.reasons or ("nothing holds it: it is looked at again soon",))
    if page.reasons_until is not None:
        yield f"  looked at again at {clock(page.reasons_until)} at the latest"


def _page_lines(page: ItemPage) -> Iterator[str]:
    row = page.row
    yield click.style(printable(f"{row.work_item}  {row.title}"), bold=True)
    yield f"{coloured(row.state)} in {row.stage} for {ago(row.since)}"
    yield from columns(_facts(page))
    yield from _section("why", [[reason] for reason in row.reasons])
    yield from _section(
        "jobs", [[one.stage, one.status, one.outcome or "-", one.node or "-", one.detail[:80]] for one in page.jobs]
    )
    yield from _section(
        "gates", [[one.gate, one.outcome, short(one.head_sha), one.evidence[:100]] for one in page.gates]
    )
    yield from _section("effects", [[one.kind, one.status, one.target] for one in page.effects])
    yield from _section(
        "deployments",
        [[one.environment, one.kind, one.status, short(one.sha), one.detail[:80]] for one in page.deployments],
    )
    if page.stop is not None:
        yield from _stop_lines(page.stop)


def _stop_lines(stop: StopRow) -> Iterator[str]:
    rows = [[f"pid {one.pid}", one.name, ", ".join(one.signals) or "no signal", _dead(one)] for one in stop.deaths]
    yield from _section("stop: seen dead", rows)
    yield from _section("stop: had landed", [[line] for line in stop.landed or ("nothing",)])
    yield from _section("stop: refused and done since", [[line] for line in stop.refused])


def _dead(one: Death) -> str:
    return f"dead at {one.dead_at}" if one.dead_at else "dead"


def _facts(page: ItemPage) -> list[list[str]]:
    row = page.row
    told = {
        "branch": page.branch,
        "head": short(page.head_sha),
        "pull request": str(row.pull_request or "-"),
        "merged": short(page.merged_sha) + (" (by hand)" if page.merged_by_hand else ""),
        "blocked by": ", ".join(page.blocked_by),
        "approved by": page.approved_by or "",
        "rejected by": f"{page.rejected_by}: {page.rejected_why}" if page.rejected_by else "",
        "lease": f"{page.lease.actor} in {page.lease.edge} ({page.lease.owner})" if page.lease else "",
        "stop asked by": (page.stop.requested_by or "") if page.stop else "",
    }
    return [[f"  {name}", text] for name, text in told.items() if text and text != "-"]


def _section(title: str, rows: list[list[str]]) -> Iterator[str]:
    if rows:
        yield click.style(title, bold=True)
        yield from (f"  {line}" for line in columns(rows))
