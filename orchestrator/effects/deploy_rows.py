"""What the deploy effects have in common: a row that asks for a deployment, and a deployer launched for it.

The row is the effect. The detached deployer and the finalizer finish what it asks for, so a launch that failed is no
failure of the effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.domain.errors import LostRaceError
from orchestrator.domain.ownership import HeldLease, LostRace
from orchestrator.domain.views import DeploymentStatus
from orchestrator.effects.contract import EffectContext, Impossible, Landed
from orchestrator.ports import DeployRequest
from orchestrator.store import deployments, leases
from orchestrator.store.deployments import Deployment


@dataclass(frozen=True, slots=True)
class Wanted:
    """A claim's request: one row of ``deployments``. ``sha`` is empty when there is nothing to deploy."""

    environment: str
    visit: int
    sha: str
    image: str | None
    row_kind: str

    @classmethod
    def read(cls, request: Mapping[str, str], row_kind: str) -> Wanted:
        return cls(request["environment"], int(request["visit"]), request["sha"], request["image"] or None, row_kind)


def find(context: EffectContext, wanted: Wanted) -> Landed | Impossible | None:
    """What the row says, whoever wrote it; None when there is none."""
    row = _row(context, wanted)
    if row is None:
        return None
    if row.status is DeploymentStatus.REVOKED:
        return Impossible(f"deployment {row.id} of {row.environment} was revoked")
    return Landed({"deployment": str(row.id), "sha": row.sha})


def ask_and_launch(context: EffectContext, lease: HeldLease, wanted: Wanted) -> None:
    """Write the row while the lease is ours, then start its deployer. The launch may fail: the finalizer does it again.

    Raises LostRaceError when the lease was taken away; then no row was written.
    """
    with context.store.transaction(lease.actor) as connection:
        if leases.lock_if_epoch_holds(connection, lease) is None:
            raise LostRaceError("the epoch moved on")
        # The point of no return: from this commit on, a deployer may win the row.
        row = deployments.request(
            connection,
            task_id=context.view.task_id,
            visit=wanted.visit,
            project=context.view.project,
            environment=wanted.environment,
            sha=wanted.sha,
            image=wanted.image,
            kind=wanted.row_kind,
        )
        marked = deployments.mark_launched(connection, row.id)
    spec = context.repository.deploys.get(wanted.environment)
    if spec is None or isinstance(marked, LostRace):
        return
    context.ports.deployer.launch(DeployRequest(row.id, row.project, row.environment, row.sha, row.image, spec))


def put_tombstone(context: EffectContext, lease: HeldLease, wanted: Wanted) -> None:
    """Put a tombstone in the row's place; a running deployment stays what it is, and the next look shows it."""
    with context.store.transaction(lease.actor) as connection:
        if leases.lock_if_epoch_holds(connection, lease) is None:
            raise LostRaceError("the epoch moved on")
        deployments.tombstone(
            connection,
            task_id=context.view.task_id,
            visit=wanted.visit,
            project=context.view.project,
            environment=wanted.environment,
            sha=wanted.sha,
            kind=wanted.row_kind,
        )


def _row(context: EffectContext, wanted: Wanted) -> Deployment | None:
    with context.store.transaction() as connection:
        rows = deployments.for_task(connection, context.view.task_id)
    key = (wanted.visit, wanted.environment, wanted.row_kind)
    return next((one for one in rows if (one.visit, one.environment, one.kind) == key), None)
