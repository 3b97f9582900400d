"""Commands that stay: wait for a stage, and the live board."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli import exits, session
from orchestrator.cli.items import board_lines, page_in
from orchestrator.cli.output import answer, json_option, note, printable
from orchestrator.cli.pending import seconds
from orchestrator.domain.errors import UsageError
from orchestrator.domain.stages import Stage, forward_edge, is_terminal

if TYPE_CHECKING:
    from orchestrator.store.read_models import ItemPage

_POLL_S: Final = 0.5


@click.command()
@click.argument("item")
@click.option(
    "--for",
    "stage",
    type=click.Choice([str(stage) for stage in Stage]),
    default=str(Stage.DONE),
    show_default=True,
    help="The stage to wait for; a later one counts as well.",
)
@click.option("--timeout", callback=seconds, default="1h", show_default=True, help="90, 15m, 2h.")
@json_option
def wait(item: str, stage: str, timeout: float, as_json: bool) -> None:
    """Block until ITEM reaches a stage.

    Exit code 0: reached; 3: timed out; 7: it is parked and waits for a person; 1: it ended elsewhere.
    """
    store = session.store()
    deadline = time.monotonic() + timeout
    told: tuple[str, str] | None = None
    while True:
        page = page_in(store, item)
        now = (page.row.stage, page.row.state)
        if now != told:
            note(f"{item} is {page.row.state} in {page.row.stage}")
            told = (str(now[0]), str(now[1]))
        code = _verdict(page, Stage(stage))
        if code is None and time.monotonic() >= deadline:
            code = exits.CANCELLED
        if code is not None:
            _tell(page, code, as_json=as_json)
            raise click.exceptions.Exit(code)
        time.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))


def _verdict(page: ItemPage, wanted: Stage) -> int | None:
    """The exit code, once it is known."""
    if _reached(page.row.stage, wanted):
        return exits.DONE
    if is_terminal(page.row.stage):
        return exits.FAILED
    return exits.NEEDS_PERSON if page.row.state == "parked" else None


def _reached(stage: Stage, wanted: Stage) -> bool:
    """Whether ``stage`` is ``wanted`` or behind it on the way to done."""
    step: Stage | None = wanted
    while step is not None:
        if step is stage:
            return True
        edge = forward_edge(step)
        step = edge.target if edge else None
    return False


def _tell(page: ItemPage, code: int, *, as_json: bool) -> None:
    row = page.row
    data = {"item": row.work_item, "stage": row.stage, "state": row.state, "reasons": row.reasons, "exit_code": code}
    lines = [f"{row.work_item} is {row.state} in {row.stage}", *(f"  {printable(reason)}" for reason in row.reasons)]
    answer(data, lines, as_json=as_json)


@click.command()
@click.option(
    "--interval", type=click.FloatRange(min=0.2), default=1.0, show_default=True, help="Seconds between looks."
)
@json_option
def top(interval: float, as_json: bool) -> None:
    """Show the board live until Ctrl-C; with --json one board a line."""
    from orchestrator.cli.output import as_text
    from orchestrator.store import read_models

    store = session.store()
    if not as_json and not sys.stdout.isatty():
        raise UsageError("`orch top` needs a terminal", remedy="use `orch status`, or `orch top --json`")
    while True:
        with store.snapshot() as connection:
            rows = read_models.board(connection, ended=10)
        if as_json:
            click.echo(as_text(rows, indent=None))
        else:
            click.clear()
            click.echo("\n".join(board_lines(rows)))
        time.sleep(interval)
