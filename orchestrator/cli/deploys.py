"""`orch deploy`: what was deployed, and how to put the version before back."""

from __future__ import annotations

import click

from orchestrator.cli import session
from orchestrator.cli.output import ago, answer, columns, confirm, json_option, short, yes_option


@click.group()
def deploy() -> None:
    """Deployments."""


@deploy.command("list")
@click.argument("project", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=30, show_default=True, help="How many, newest first.")
@json_option
def list_deploys(project: str | None, limit: int, as_json: bool) -> None:
    """Show deployments and roll backs, newest first."""
    from orchestrator.store import deploy_list

    with session.reading() as connection:
        rows = deploy_list.newest(connection, project, limit)
    table = [
        (
            str(one.id),
            one.project,
            one.environment,
            one.kind,
            one.status,
            short(one.sha),
            one.work_item,
            ago(one.requested_at),
            one.detail.partition("\n")[0][:80],
        )
        for one in rows
    ]
    header = ("ID", "PROJECT", "ENVIRONMENT", "KIND", "STATUS", "VERSION", "ITEM", "AGO", "DETAIL")
    answer(rows, columns(table, header) if table else ["nothing was deployed yet"], as_json=as_json)


@deploy.command("rollback")
@click.argument("project")
@click.argument("environment")
@yes_option
@json_option
def rollback(project: str, environment: str, yes: bool, as_json: bool) -> None:
    """Put back the version that ENVIRONMENT of PROJECT had before."""
    from orchestrator.engine import deploy_acts

    engine = session.engine()
    wish = deploy_acts.plan_roll_back(engine, project, environment)
    act = f"put {short(wish.sha)} back in {environment} of {project}, in place of {short(wish.current.sha)}"
    confirm(act, yes=yes)
    row = deploy_acts.roll_back(engine, wish, session.who())
    lines = [f"deployment {row.id} is requested; `orch deploy list {project}` shows how it ends"]
    answer({"deployment": row.id, "sha": row.sha, "status": row.status}, lines, as_json=as_json)
