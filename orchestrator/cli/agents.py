"""What agents are told and what they say: the prompt of an item, and its runs' output, live."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli import session
from orchestrator.cli.items import page_of
from orchestrator.cli.output import answer, as_text, json_option, printable

if TYPE_CHECKING:
    from orchestrator.engine.context import Engine
    from orchestrator.store.jobs import AgentRun

_POLL_S: Final = 0.5


@click.command()
@click.argument("item")
@json_option
def prompt(item: str, as_json: bool) -> None:
    """Show exactly what the agent of ITEM is told, or would be if it were started now."""
    from orchestrator.engine import agents

    engine = session.engine()
    with engine.store.snapshot() as connection:
        task = page_of(connection, item).row.task_id
    text = agents.prompt_of(engine, task)
    answer({"item": item, "prompt": text}, [text.rstrip("\n")], as_json=as_json)


@click.command()
@click.argument("item")
@click.option("-f", "--follow", is_flag=True, help="Go on until the item stands still or is over.")
@click.option("--raw", is_flag=True, help="The stream as the agent's CLI wrote it.")
@json_option
def output(item: str, follow: bool, raw: bool, as_json: bool) -> None:
    """Show what the newest agent run of ITEM prints, as readable lines; with --json one object a line.

    Only on the node that has the run: its output stays there. The agent's own secrets are masked in it.
    """
    tail = AgentTail(session.engine(in_an_emergency=True), item, raw=raw)
    while True:
        # Asked before the lines are read: then the last ones are not missed.
        over = not follow or tail.is_over()
        for run_id, line in tail.new_lines():
            click.echo(as_text({"run": run_id, "line": line}, indent=None) if as_json else printable(line))
        if over:
            return
        time.sleep(_POLL_S)


class AgentTail:
    """The lines that the newest run of an item printed since they were last asked for."""

    def __init__(self, engine: Engine, item: str, *, raw: bool = False) -> None:
        self._engine, self._item, self._raw = engine, item, raw
        self._run_id, self._at = "", 0

    def new_lines(self) -> Iterator[tuple[str, str]]:
        """(run, line), oldest first. A new run begins at its first line; nothing where the run is on another node."""
        from orchestrator.store import jobs

        with self._engine.store.snapshot() as connection:
            run = jobs.newest_run_of_task(connection, page_of(connection, self._item).row.task_id)
        if run is None:
            return
        if run.run_id != self._run_id:
            self._run_id, self._at = run.run_id, 0
        yield from ((run.run_id, line) for line in self._read(run))

    def _read(self, run: AgentRun) -> Iterator[str]:
        while True:
            before = self._at
            run_dir = self._engine.runs_dir / run.run_id
            lines, self._at = self._engine.agents.lines(run_dir, run.runtime, before, raw=self._raw)
            yield from lines
            if self._at == before:
                return

    def is_over(self) -> bool:
        """Whether no agent of the item will print anything more without a person."""
        from orchestrator.store.read_models import ItemState

        with self._engine.store.snapshot() as connection:
            state = page_of(connection, self._item).row.state
        return state in (ItemState.DONE, ItemState.CANCELLED, ItemState.PARKED)
