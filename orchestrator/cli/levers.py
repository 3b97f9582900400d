"""Levers for everything at once: pause, panic, drain, merge lanes, nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli import session
from orchestrator.cli.output import answer, columns, duration, json_option, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.engine.context import Engine

_EVERYWHERE: Final = "*"


@click.command()
@click.argument("project", default=_EVERYWHERE)
@click.option("--reason", default="", help="Shown wherever something waits for this.")
@json_option
def pause(project: str, reason: str, as_json: bool) -> None:
    """Start nothing new in PROJECT, or anywhere. What runs goes on to its end."""
    from orchestrator.engine import operator

    operator.pause(_engine_for(project), project, session.who(), reason)
    answer({"paused": project}, [f"paused: {_named(project)}"], as_json=as_json)


@click.command()
@click.argument("project", default=_EVERYWHERE)
@json_option
def resume(project: str, as_json: bool) -> None:
    """Undo `orch pause` for PROJECT, or for everywhere."""
    from orchestrator.engine import operator

    done = operator.resume(_engine_for(project), project, session.who())
    line = f"resumed: {_named(project)}" if done else f"there was no pause of {_named(project)}"
    answer({"resumed": project, "was_paused": done}, [line], as_json=as_json)


@click.command()
@click.option("--reason", default="", help="Shown wherever something waits for this.")
@click.option("--end", is_flag=True, help="End the panic.")
@json_option
def panic(reason: str, end: bool, as_json: bool) -> None:
    """Claim no new effect anywhere, at once: no merge, no deploy, no comment. What was begun is still finished."""
    from orchestrator.engine import operator

    engine = session.engine(in_an_emergency=True)
    if end:
        done = operator.calm(engine, session.who())
        answer({"panic": False, "was": done}, ["the panic is over" if done else "there was no panic"], as_json=as_json)
        return
    operator.panic(engine, session.who(), reason)
    answer({"panic": True}, ["panic: nothing new is claimed until `orch panic --end`"], as_json=as_json)


@click.command()
@click.argument("node", required=False)
@click.option("--end", is_flag=True, help="Let the node take work again.")
@json_option
def drain(node: str | None, end: bool, as_json: bool) -> None:
    """Let NODE (this one when left out) take nothing new; its agents finish."""
    from orchestrator.engine import operator

    engine = session.engine(in_an_emergency=True)
    chosen = node or engine.host.node
    operator.drain(engine, chosen, session.who(), draining=not end)
    line = f"{chosen} takes work again" if end else f"{chosen} takes nothing new"
    answer({"node": chosen, "draining": not end}, [line], as_json=as_json)


def _engine_for(project: str) -> Engine:
    """Everything can be paused while the configuration is broken; one project has to be looked up in it."""
    return session.engine(in_an_emergency=project == _EVERYWHERE)


def _named(project: str) -> str:
    return "everything" if project == _EVERYWHERE else project


# --- merge lanes ---------------------------------------------------------------------------------------------


@click.group()
def lane() -> None:
    """The merge lanes: one re-test and merge at a time on a base branch."""


@lane.command("list")
@json_option
def list_lanes(as_json: bool) -> None:
    """Show each lane, who is in it, and whether it is paused."""
    from orchestrator.store import read_models, switches

    with session.reading() as connection:
        lanes = read_models.queue(connection)["merge_lane"]
        paused = [one for one in switches.thrown(connection) if one.name == "lane"]
    assert isinstance(lanes, list)
    table = [_lane_row(one) for one in lanes]
    lines = columns(table, ("LANE", "HELD BY", "FOR")) if table else ["nothing was merged yet"]
    lines += [printable(f"paused: {one.scope} by {one.set_by} {one.reason}").rstrip() for one in paused]
    answer({"lanes": lanes, "paused": paused}, lines, as_json=as_json)


def _lane_row(one: Mapping[str, object]) -> tuple[str, str, str]:
    held = bool(one["held"])
    age = one["age_s"]
    return (
        f"{one['project']}/{one['base_branch']}",
        str(one["work_item"]) if held else "free",
        duration(age) if held and isinstance(age, float) else "-",
    )


@lane.command("pause")
@click.argument("project")
@click.option("--reason", default="", help="Shown wherever something waits for this.")
@json_option
def pause_lane(project: str, reason: str, as_json: bool) -> None:
    """Let nothing merge into the base branch of PROJECT."""
    from orchestrator.engine import operator

    operator.pause_lane(session.engine(), project, session.who(), reason)
    answer({"lane": project, "paused": True}, [f"the lane of {project} is paused"], as_json=as_json)


@lane.command("resume")
@click.argument("project")
@json_option
def resume_lane(project: str, as_json: bool) -> None:
    """Open the lane of PROJECT again."""
    from orchestrator.engine import operator

    done = operator.resume_lane(session.engine(), project, session.who())
    line = f"the lane of {project} is open" if done else f"the lane of {project} was not paused"
    answer({"lane": project, "was_paused": done}, [line], as_json=as_json)


# --- nodes ---------------------------------------------------------------------------------------------------


@click.group()
def worker() -> None:
    """The nodes that take work."""


@worker.command("list")
@json_option
def list_workers(as_json: bool) -> None:
    """Show each node, when it was seen, and the services of the fleet on this one."""
    from orchestrator.fleet.record import read_record, record_path
    from orchestrator.store import read_models

    found = session.settings()
    with session.store(found).snapshot() as connection:
        nodes = read_models.queue(connection)["nodes"]
    assert isinstance(nodes, list)
    record = read_record(record_path(found.data_dir))
    services = record.services if record else ()
    lines = columns([_node_row(one) for one in nodes], ("NODE", "STATE", "SEEN")) if nodes else ["no node was seen yet"]
    lines += columns(
        [(f"  {one.name}", str(one.state), str(one.pid or "-"), f"start {one.starts}") for one in services]
    )
    answer({"nodes": nodes, "services": services}, lines, as_json=as_json)


def _node_row(one: Mapping[str, object]) -> tuple[str, str, str]:
    state = "lost" if one["lost_at"] else "draining" if one["draining"] else "works"
    silent = one["silent_s"]
    return str(one["node"]), state, f"{duration(silent) if isinstance(silent, float) else '-'} ago"
