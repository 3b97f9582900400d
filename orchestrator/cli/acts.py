"""Acts of people about one work item. Each is recorded with who; each one that cannot be taken back asks first."""

from __future__ import annotations

import click

from orchestrator.cli import session
from orchestrator.cli.output import answer, confirm, json_option, yes_option


@click.command()
@click.argument("item")
@yes_option
@json_option
def stop(item: str, yes: bool, as_json: bool) -> None:
    """Stop ITEM: its agent ends, open effects are taken back, what had landed is said."""
    from orchestrator.engine import operator

    engine = session.engine(in_an_emergency=True)
    confirm(f"stop {item}, end its agent and delete its branch", yes=yes)
    told = operator.stop(engine, item, session.who())
    answer({"item": item, "told": told}, [told, f"`orch log {item} -f` shows how it ends"], as_json=as_json)


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
