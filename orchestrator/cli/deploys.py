"""`orch deploy`: what was deployed, and how to put the version before back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import exits, session
from orchestrator.cli.output import ago, answer, columns, confirm, json_option, short, yes_option
from orchestrator.cli.pending import code_within, wait_option
from orchestrator.domain.views import DeploymentStatus

if TYPE_CHECKING:
    from orchestrator.store.database import Store
    from orchestrator.store.deployments import Deployment


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
@wait_option
@json_option
def rollback(project: str, environment: str, yes: bool, wait_s: float | None, as_json: bool) -> None:
    """Put back the version that ENVIRONMENT of PROJECT had before.

    With --wait, exit code 0: it answers; 8: asked for and still on its way; 1: it failed.
    """
    from orchestrator.engine import deploy_acts

    engine = session.engine()
    wish = deploy_acts.plan_roll_back(engine, project, environment)
    act = f"put {short(wish.sha)} back in {environment} of {project}, in place of {short(wish.current.sha)}"
    confirm(act, yes=yes)
    row = deploy_acts.roll_back(engine, wish, session.who())
    code = None if wait_s is None else code_within(wait_s, lambda: _end_of(engine.store, row.id))
    row = _row(engine.store, row.id)
    lines = [f"deployment {row.id} is {row.status}; `orch deploy list {project}` shows how it ends"]
    answer({"deployment": row.id, "sha": row.sha, "status": row.status}, lines, as_json=as_json)
    if code:
        raise click.exceptions.Exit(code)


def _row(store: Store, deployment_id: int) -> Deployment:
    from orchestrator.store import deployments

    with store.snapshot() as connection:
        found = deployments.get(connection, deployment_id)
    assert found is not None, "deployments are never deleted"
    return found


def _end_of(store: Store, deployment_id: int) -> int | None:
    row = _row(store, deployment_id)
    if row.status in (DeploymentStatus.REQUESTED, DeploymentStatus.RUNNING):
        return None
    return exits.DONE if row.landed else exits.FAILED
