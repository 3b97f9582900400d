"""Acts of people about one work item. Each is recorded with who; each one that cannot be taken back asks first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import exits, session
from orchestrator.cli.items import page_in
from orchestrator.cli.output import answer, confirm, json_option, yes_option
from orchestrator.cli.pending import code_within, wait_option

if TYPE_CHECKING:
    from orchestrator.store.database import Store


@click.command()
@click.argument("item")
@yes_option
@wait_option
@json_option
def stop(item: str, yes: bool, wait_s: float | None, as_json: bool) -> None:
    """Stop ITEM: its agent ends, open effects are taken back, what had landed is said.

    With --wait, exit code 0: cancelled; 8: accepted and still on its way; 1: it came too late, the item is finished.
    """
    from orchestrator.engine import operator

    engine = session.engine(in_an_emergency=True)
    confirm(f"stop {item}, end its agent and delete its branch", yes=yes)
    told = operator.stop(engine, item, session.who())
    code = None if wait_s is None else code_within(wait_s, lambda: _end_of_stop(engine.store, item))
    state = page_in(engine.store, item).row.state
    data = {"item": item, "told": told, "state": state}
    answer(data, [told, f"it is {state}; `orch log {item} -f` shows how it ends"], as_json=as_json)
    if code:
        raise click.exceptions.Exit(code)


def _end_of_stop(store: Store, item: str) -> int | None:
    """The exit code once the STOP is over: people were told, or what had begun could no longer be stopped."""
    page = page_in(store, item)
    if page.row.state == "cancelled":
        return exits.DONE
    return exits.FAILED if page.stop is None or page.row.state == "done" else None


@click.command()
@click.argument("item")
@json_option
def retry(item: str, as_json: bool) -> None:
    """Let a parked ITEM try again."""
    from orchestrator.engine import operator

    operator.retry(session.engine(), item, session.who())
    answer({"item": item, "retried": True}, [f"{item} tries again"], as_json=as_json)


@click.command()
@click.argument("item")
@yes_option
@json_option
def approve(item: str, yes: bool, as_json: bool) -> None:
    """Let ITEM go to production."""
    from orchestrator.engine import operator

    engine = session.engine()
    confirm(f"approve {item}: it is merged and deployed to production once its gates pass", yes=yes)
    operator.approve(engine, item, session.who())
    answer({"item": item, "approved": True}, [f"{item} is approved"], as_json=as_json)


@click.command()
@click.argument("item")
@click.option("--why", required=True, help="What the next agent is told.")
@json_option
def reject(item: str, why: str, as_json: bool) -> None:
    """Send ITEM back to development, saying why."""
    from orchestrator.engine import operator

    operator.reject(session.engine(), item, session.who(), why)
    answer({"item": item, "rejected": why}, [f"{item} goes back"], as_json=as_json)


@click.command("release-lease")
@click.argument("item")
@click.option("--epoch", type=int, help="Only while the lease has this epoch; else exit code 6.")
@yes_option
@json_option
def release_lease(item: str, epoch: int | None, yes: bool, as_json: bool) -> None:
    """Take the lease of ITEM away by force: what its owner still writes is refused."""
    from orchestrator.engine import operator

    engine = session.engine(in_an_emergency=True)
    confirm(f"take the lease of {item} away from its owner", yes=yes)
    operator.release_lease(engine, item, session.who(), epoch=epoch)
    answer({"item": item, "released": True}, [f"the lease of {item} is released"], as_json=as_json)
